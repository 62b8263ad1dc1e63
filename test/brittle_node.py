"""The node with an engine that breaks when it is shown RED: run as a module, in place of vpr_ros.node."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from test.small_world import picture
from vpr_ros import node
from vpr_ros.engine import Engine
from vpr_ros.images.camera_image import CameraImage

#: What breaks it: (96, 128, 3) RGB.
RED = np.zeros_like(picture(0))
RED[..., 0] = 255

_encode_one = Engine.encode_one


def _brittle(self: Engine, image: CameraImage, **rest: Any) -> NDArray[np.float32]:
    if (image.rgb() == RED[0, 0]).all():
        raise RuntimeError("the engine broke")
    return _encode_one(self, image, **rest)


if __name__ == "__main__":
    Engine.encode_one = _brittle  # type: ignore[method-assign, assignment]
    node.main()
