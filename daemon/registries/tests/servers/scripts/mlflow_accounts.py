"""Who may ask the tests' MLflow: its own accounts, and whoever has the token. MLflow takes such a function for what it has no accounts for."""

import os

from flask import make_response, request
from mlflow.server.auth import authenticate_request_basic_auth
from werkzeug.datastructures import Authorization


def authenticate():
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return authenticate_request_basic_auth()
    if given == os.environ["EVOPRESS_TEST_TOKEN"]:
        return Authorization("basic", {"username": os.environ["EVOPRESS_TEST_USER"], "password": ""})
    return make_response("not this token", 401)
