"""Leaves out what a start does not need. To be imported before FastAPI is."""

import sys
import warnings

from pydantic import BaseModel
from pydantic.warnings import UnsupportedFieldAttributeWarning

# What checks a model is built at its first use; most of FastAPI's own are for OpenAPI.
BaseModel.model_config["defer_build"] = True
# FastAPI keeps this quiet where it makes its fields, and pydantic now says it later.
warnings.filterwarnings("ignore", "The 'alias' attribute", UnsupportedFieldAttributeWarning)
# FastAPI would load all of pydantic's first version, to find that no model of ours is one of its.
sys.modules.setdefault("pydantic.v1", None)  # type: ignore[arg-type]
