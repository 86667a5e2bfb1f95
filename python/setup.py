"""The license, whose field has two names: an SPDX expression since setuptools 77, a text before. All else stands in pyproject.toml."""
import setuptools

IS_EXPRESSION = int(setuptools.__version__.split(".")[0]) >= 77

setuptools.setup(**{"license_expression" if IS_EXPRESSION else "license": "Apache-2.0"})
