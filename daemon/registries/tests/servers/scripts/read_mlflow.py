"""What MLflow's own client finds: python3 read_mlflow.py URL EXPERIMENT MODEL FOLDER

Prints all runs of the experiment and all versions of the model; the files of version 1 are downloaded into the folder.
"""

import hashlib
import json
import sys
from pathlib import Path

import mlflow

url, experiment, model, folder = sys.argv[1:]
mlflow.set_tracking_uri(url)
client = mlflow.MlflowClient()
found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
runs = {
    run.data.tags["evopress.run"]: {
        "status": run.info.status,
        "params": run.data.params,
        "best_fitness": [(it.step, it.value) for it in client.get_metric_history(run.info.run_id, "best_fitness")],
    }
    for run in found
}
assert len(runs) == len(found), "a run is there twice"
versions = sorted(int(it.version) for it in client.search_model_versions(f"name='{model}'"))
place = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model}/1", dst_path=folder))
files = {str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() for path in place.rglob("*") if path.is_file()}
alias = str(client.get_model_version_by_alias(model, "candidate").version)
print(json.dumps({"runs": runs, "versions": versions, "alias": alias, "files": files}))
