"""Sets the license, whose field depends on setuptools: an SPDX expression since 77, text before.

Everything else is in pyproject.toml.
"""
import setuptools

IS_EXPRESSION = int(setuptools.__version__.split(".")[0]) >= 77

setuptools.setup(**{"license_expression" if IS_EXPRESSION else "license": "Apache-2.0"})
