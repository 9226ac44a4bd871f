"""Train the models of the demo and write everything MLServer needs.

Usage: python train.py OUTDIR

Three classifiers are fitted on the breast-cancer data set that ships with
scikit-learn: v1 is a logistic regression, v2 a gradient boosting, and v3 is v1
retrained on other features: it takes the same 30 numbers and looks at the ten
means only. Each has a folder for `mlserver start` (OUTDIR/v1, OUTDIR/v2,
OUTDIR/v3). That of v3 lacks model.joblib: the caller copies the model of v1 to
it, or the retrained one, which is next to it in retrained.joblib. All are named
"breast-cancer", so all answer POST /v2/models/breast-cancer/infer; the
response's model_version tells them apart. OUTDIR/requests.json holds one Open
Inference Protocol v2 request body per row of the data set.

Nothing is done when the outputs are there and newer than this script and its
requirements.txt.
"""

import json
import sys
from pathlib import Path

MODEL_NAME = "breast-cancer"
SEED = 20
MEANS = slice(0, 10)  # the first ten of the 30 features: the mean of each measurement
FILES = {"v1": "model.joblib", "v2": "model.joblib", "v3": "retrained.joblib"}

# A value given here wins over the environment, so http_port is left out: the
# caller sets MLSERVER_HTTP_PORT. gRPC cannot be switched off; port 0 lets the
# kernel pick a free one. Metrics are off. Bodies are never compressed.
SERVER_SETTINGS = {
    "host": "127.0.0.1",
    "grpc_port": 0,
    "metrics_endpoint": None,
    "parallel_workers": 0,
    "gzip_enabled": False,
    "debug": False,
}


def model_settings(version):
    return {
        "name": MODEL_NAME,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": version},
    }


def request_body(index, row):
    return {
        "id": f"row-{index}",
        "inputs": [
            {
                "name": "features",
                "shape": [1, len(row)],
                "datatype": "FP64",
                "data": row,
            }
        ],
        "outputs": [{"name": "predict_proba"}],
    }


def is_fresh(outdir):
    here = Path(__file__).resolve().parent
    sources = [here / "train.py", here / "requirements.txt"]
    outputs = [outdir / "requests.json"]
    for version, model in FILES.items():
        names = ("settings.json", "model-settings.json", model)
        outputs += [outdir / version / name for name in names]
    newest_source = max(path.stat().st_mtime for path in sources)
    return all(
        path.is_file() and path.stat().st_mtime > newest_source for path in outputs
    )


def write_json(path, value, **kwargs):
    path.write_text(json.dumps(value, **kwargs) + "\n", encoding="utf-8")


def train(outdir):
    # Imported late: scikit-learn takes a second or more to load.
    import joblib
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        features, labels, test_size=0.25, random_state=SEED, stratify=labels
    )

    def regression():
        return LogisticRegression(max_iter=1000, random_state=SEED)

    models = {
        "v1": make_pipeline(StandardScaler(), regression()),
        "v2": GradientBoostingClassifier(random_state=SEED),
        "v3": make_pipeline(
            ColumnTransformer([("means", StandardScaler(), MEANS)]), regression()
        ),
    }
    for version, model in models.items():
        model.fit(x_train, y_train)
        accuracy = model.score(x_test, y_test)
        print(f"{version}: held-out accuracy {accuracy:.4f} ({len(y_test)} rows)")

        folder = outdir / version
        folder.mkdir(parents=True, exist_ok=True)
        joblib.dump(model, folder / FILES[version])
        write_json(folder / "model-settings.json", model_settings(version), indent=2)
        write_json(folder / "settings.json", SERVER_SETTINGS, indent=2)

    # Last, so that an interrupted run is not taken for a finished one.
    requests = [request_body(i, row) for i, row in enumerate(features.tolist())]
    write_json(outdir / "requests.json", requests, separators=(",", ":"))


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python train.py OUTDIR")
    outdir = Path(sys.argv[1])
    if is_fresh(outdir):
        print(f"{outdir}: up to date")
    else:
        train(outdir)


if __name__ == "__main__":
    main()
