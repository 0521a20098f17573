"""MLflow's server on loopback, with its accounts: python3 serve_mlflow.py PORT FOLDER"""

import os
import sys

from mlflow.cli import cli

port, folder = sys.argv[1:]
# Its workers find mlflow_accounts.py.
os.environ["PYTHONPATH"] += os.pathsep + os.path.dirname(os.path.abspath(__file__))
sys.argv = ["mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1", "--serve-artifacts"]
sys.argv += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
sys.argv += ["--app-name", "basic-auth"]
cli()
