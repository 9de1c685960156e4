"""Packages of the project and their dependencies.

Versions that fit together in only one combination are pinned here; `constraints.txt` locks all others.
"""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "bigearth_tf" / "__init__.py").read_text("utf-8"), re.MULTILINE)
README = ROOT / "README.md"

# TensorBoard 2.15 imports pkg_resources, which setuptools dropped in 82 and warns about from 81 on.
SETUPTOOLS = "setuptools<81"

setup(
    name="bigearth-tf",
    version=VERSION.group(1),
    description="Train land-cover models on Sentinel-2 data with TensorFlow",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    packages=find_namespace_packages(
        include=["bigearth_tf*", "tfrecord_tools*", "experiments*"], exclude=["*.__pycache__*"]
    ),
    python_requires=">=3.9,<3.12",  # TensorFlow 2.15 has wheels for these
    install_requires=[
        "absl-py",
        "matplotlib",
        "ml_collections",
        "numpy>=1.26,<2",  # TensorFlow 2.15 is built for NumPy 1
        "pandas",
        "pillow",
        "pyarrow<26",  # 26 refuses NumPy 1.26 when it is imported
        "scipy",
        "tqdm",
    ],
    extras_require={
        # TensorFlow: one of the two. It brings Keras 2.15.
        "cpu": ["tensorflow-cpu==2.15.1", SETUPTOOLS],
        "gpu": ["tensorflow[and-cuda]==2.15.1", SETUPTOOLS],
        # Add the version of the system's libgdal to this extra: "gdal==$(gdal-config --version).*".
        # bigearthnet-common contains the official lists and real patches as package data; its code is not used.
        "geo": ["gdal", "bigearthnet-common==2.8.0"],
        "horovod": ["horovod==0.28.1"],  # the last release; builds against TensorFlow 2.15
        "addons": ["tensorflow-addons==0.23.0"],  # the last release; built against TensorFlow 2.15
        # Needed to compile GDAL's bindings and Horovod. Horovod's Gloo does not configure under CMake 4.
        "build": ["pip", SETUPTOOLS, "wheel", "packaging", "cmake>=3.13,<4"],
        # scikit-learn is the oracle of tests of scores; nothing else imports it.
        "dev": ["hypothesis", "mypy", "pre-commit", "pytest", "pytest-timeout", "pytest-xdist", "ruff", "scikit-learn"],
    },
)
