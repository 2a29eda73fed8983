"""stub"""
from __future__ import annotations
def dumps(value: object) -> str:
    import json
    return json.dumps(value, default=repr)
def loads(text: str) -> object:
    import json
    return json.loads(text)
