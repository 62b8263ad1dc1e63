"""Which vpr_ros this is."""

from importlib.metadata import PackageNotFoundError, version


def project_version() -> str:
    """Return the installed version of vpr_ros."""
    try:
        return version("vpr_ros")
    except PackageNotFoundError:  # run from a checkout
        return "0.0.0"
