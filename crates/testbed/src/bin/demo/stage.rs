//! Sets the stage: a Python environment with MLServer, three trained models, their servers, and a real Envoy from the shipped
//! configuration. What was installed and trained stays in `.models` for the next time; what was started ends with the stage.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use testbed::module::workspace;
use testbed::{Cluster, Envoy};

use crate::interrupt::{Interrupt, Stop};
use crate::model::{Model, free_port};
use crate::python::{OutputOf, environment, sources};
use crate::screen::{Wait, note};

/// The actors.
pub(crate) struct Stage {
    pub(crate) envoy: Envoy,
    /// The servers of v1, v2 and v3.
    pub(crate) models: [Model; 3],
    /// Real questions: Open Inference Protocol requests made from the rows of the data set.
    pub(crate) questions: Vec<String>,
}

impl Stage {
    /// Installs what is missing, trains, and starts Envoy and the servers of these versions.
    pub(crate) fn set(started: &[&str], interrupt: &Interrupt) -> Result<Self, Stop> {
        let folder = workspace().join(".models");
        let python = environment(&folder, interrupt)?;
        let trained = folder.join("trained");
        let words =
            "training three models on the breast-cancer data set: v1, v2, and v1 retrained on other features";
        let train = Command::new(&python)
            .arg(sources().join("train.py"))
            .arg(&trained)
            .output_of(words, interrupt)?;
        train.lines().filter(|line| line.contains("accuracy")).for_each(note);
        let text = fs::read_to_string(trained.join("requests.json")).map_err(|error| error.to_string())?;
        let questions: Vec<serde_json::Value> =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;

        let waiting = Wait::begin("starting two MLServers and Envoy");
        let first = free_port(20_000 + std::process::id() % 10_000)?;
        let second = free_port(u32::from(first) + 1)?;
        let third = free_port(u32::from(second) + 1)?;
        let mut models = [("v1", first), ("v2", second), ("v3", third)]
            .map(|(name, port)| Model::new(name, port, &python, &trained));
        models[2].put("v1/model.joblib")?;
        let is_started = |model: &&mut Model| started.contains(&model.name);
        for model in models.iter_mut().filter(is_started) {
            model.start()?;
        }
        for model in models.iter_mut().filter(is_started) {
            model.wait_ready(interrupt)?;
        }
        let clusters = models.iter().flat_map(|model| {
            let port = model.address().port();
            let copies = Cluster::new(&format!("{}-copies", model.cluster()), &[port]).copies();
            [Cluster::new(&model.cluster(), &[port]), copies]
        });
        let envoy =
            Envoy::builder().clusters(clusters).concurrency(2).module(module()).own_process_group().start();
        drop(waiting);
        let servers = models.iter().filter(|model| started.contains(&model.name));
        let servers: Vec<String> =
            servers.map(|model| format!("{} on :{}", model.name, model.address().port())).collect();
        note(&format!("MLServer {}, Envoy on :{}", servers.join(", "), envoy.address().port()));
        Ok(Self { envoy, models, questions: questions.iter().map(ToString::to_string).collect() })
    }
}

/// The filter, as `make demo` has just built it.
pub(crate) fn module() -> PathBuf {
    workspace().join("dist/rollout_filter.wasm")
}
