"""Public data sets and other people's formats, each read into the table of geotagged images."""
