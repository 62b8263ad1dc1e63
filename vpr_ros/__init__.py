"""Visual place recognition with NetVLAD: camera images in, GPS pose hypotheses out."""

import os

# OpenCV reads this when it is first imported: an image of a few bytes may announce gigapixels
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))
