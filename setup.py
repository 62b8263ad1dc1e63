"""Installs the package for `pip install .` and for `colcon build` alike."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "vpr_ros"
PACKAGE = ElementTree.parse("package.xml").getroot()

setup(
    name=NAME,
    version=PACKAGE.findtext("version"),
    description=PACKAGE.findtext("description").strip(),
    license=PACKAGE.findtext("license"),
    maintainer=PACKAGE.findtext("maintainer"),
    maintainer_email=PACKAGE.find("maintainer").get("email"),
    python_requires=">=3.10",
    install_requires=["setuptools"],
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["models/*.safetensors", "pages/templates/*.html.j2", "pages/templates/*.js"]},
    package_dir={"": "."},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", [str(file) for file in Path("launch").glob("*.launch.py")]),
        (f"share/{NAME}/config", [str(file) for file in Path("config").iterdir()]),
        # where `ros2 run` and launch look; pip puts console scripts into bin/ alone
        (f"lib/{NAME}", ["resource/vpr_localiser", "resource/replay"]),
    ],
    entry_points={
        "console_scripts": [
            f"vpr_localiser = {NAME}.node:main",
            f"replay = {NAME}.replay:main",
        ],
    },
    zip_safe=False,
)
