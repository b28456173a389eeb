//! `srtctl policy rollback`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use srt_proto::exit;
use srt_proto::v1::{RestoredFile, RollbackRequest, RollbackResponse};
use tonic::{Code, Status};

use super::diff::told as told_differences;
use super::{Api, of_policy, of_store, status};
use crate::api::inventory::reference;
use crate::audit::RolledBack;
use crate::layered::Choice;
use crate::live::{Who, read_anew};
use crate::policies::{Loaded, documents};
use crate::rollback::{Action, Facts, Plan, RollbackError, Step, text_of};
use crate::store::{Document, Generation, Server};

impl Api {
    pub(super) async fn roll_back(
        &self,
        request: RollbackRequest,
        who: Who,
        client_pid: Option<u32>,
    ) -> Result<RollbackResponse, Status> {
        let server = self.server_named(&request.name).await?;
        let (place, kept) = self.generation_of(&server, request.generation).await?;
        let choice = self.choice_of(&server);
        let named = choice
            .settings
            .as_ref()
            .map(|path| path.display().to_string());
        // Of launches from before this was kept, it is not known.
        if !place.cwd.is_empty() && place.settings != named {
            return Err(refused(format!(
                "generation {} was read {}, and this server is launched {}\nhint: register it with that file again: srtctl remove {name}, then srtctl add {name} --settings FILE",
                kept.id,
                by(place.settings.as_deref()),
                by(named.as_deref()),
                name = server.name,
            )));
        }
        let current = self.in_force(&server).await;
        let candidates = self
            .supervisor
            .shared
            .policies
            .own_files(&server.name, &choice);
        let now_counts = match &current {
            Ok(loaded) => documents(&loaded.policy),
            // What cannot be used is not known to the store; it counts all the same.
            Err(_) => unusable(&candidates),
        };
        let plan = self
            .plan(
                &server,
                &kept,
                &now_counts,
                &candidates,
                current.as_ref().ok(),
            )
            .await?;
        let mut told = RollbackResponse {
            from: current
                .as_ref()
                .map_or(0, |loaded| loaded.generation.number),
            to: kept.id,
            files: plan.steps.iter().map(file).collect(),
            also: self.others(&server, &plan.changes()).await?,
            plan: plan.digest(),
            ..RollbackResponse::default()
        };
        if let Ok(loaded) = &current {
            let then = self.compiled(&server, &kept, &place)?;
            told.differences = told_differences(loaded.policy.differences(&then));
        }
        if request.dry_run || plan.changes().is_empty() {
            told.policy = current.ok().map(|loaded| reference(&loaded.generation));
            return Ok(told);
        }
        if !request.plan.is_empty() && request.plan != told.plan {
            return Err(refused(
                "something has changed since the rollback was shown, and nothing was written\nhint: look again: srtctl policy rollback --dry-run"
                    .to_owned(),
            ));
        }
        self.carry_out(&server, &kept, plan, told.from, &who, client_pid)
            .await?;
        self.after(&server, &mut told).await;
        Ok(told)
    }

    /// Which settings were asked for by the newest launch, else for the server.
    fn choice_of(&self, server: &Server) -> Choice {
        let snapshot = self.supervisor.snapshot(&server.name);
        let newest = snapshot.and_then(|snapshot| snapshot.launches.last().cloned());
        match newest {
            Some(control) => control.rules.choice.clone(),
            None => Choice::of(server),
        }
    }

    async fn plan(
        &self,
        server: &Server,
        kept: &Generation,
        current: &[Document],
        candidates: &[PathBuf],
        loaded: Option<&Loaded>,
    ) -> Result<Plan, Status> {
        let shared = &self.supervisor.shared;
        let history = shared.store.policy_history(&server.name).await;
        let history = history.map_err(|error| of_store(&error))?;
        let stored: Vec<Document> = history
            .into_iter()
            .flat_map(|(_, generation)| generation.policy.documents)
            .collect();
        let own = shared.paths.server_settings(&server.name);
        let files = loaded.map(|loaded| {
            let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            loaded.policy.filesystem.resolved(real)
        });
        let facts = Facts {
            wanted: &kept.policy.documents,
            current,
            stored: &stored,
            candidates,
            own_folder: own.parent().unwrap_or(&own),
            files: files.as_ref(),
        };
        Plan::make(&facts, Timestamp::now()).map_err(|error| of_rollback(&error))
    }

    /// Other servers whose settings these files are.
    async fn others(&self, server: &Server, files: &[PathBuf]) -> Result<Vec<String>, Status> {
        let store = &self.supervisor.shared.store;
        let mut others = Vec::new();
        for other in self.known().await? {
            if other.name == server.name {
                continue;
            }
            let history = store.policy_history(&other.name).await;
            let last = history.map_err(|error| of_store(&error))?.pop();
            let reads = last.is_some_and(|(_, generation)| {
                let mut documents = generation.policy.documents.iter();
                documents.any(|document| files.iter().any(|file| file == Path::new(&document.path)))
            });
            if reads {
                others.push(other.name);
            }
        }
        Ok(others)
    }

    /// Records it, does it, and puts it in force for every launch that runs.
    async fn carry_out(
        &self,
        server: &Server,
        kept: &Generation,
        plan: Plan,
        from: u64,
        who: &Who,
        client_pid: Option<u32>,
    ) -> Result<(), Status> {
        let shared = &self.supervisor.shared;
        let changes = plan.changes();
        let files: Vec<String> = changes
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let by = who.to_string();
        let entry = RolledBack {
            rollback_to: kept.id,
            instead_of: from,
            files: &files,
            by: &by,
            uid: who.uid,
            client_pid,
        }
        .entry(Timestamp::now(), &server.name);
        // Before it is done: nothing happens of which the log does not tell.
        let recorded = shared.store.record(entry).await;
        recorded.map_err(|error| of_store(&error))?;
        let words = format!("rolled back to generation {} by {by}", kept.id);
        // Until every launch has read them: whoever reads them first says why they changed.
        let _restoring = shared.policies.generations.restoring(changes, &words);
        let written = tokio::task::spawn_blocking(move || plan.carry_out()).await;
        let written = written.map_err(|_| Status::internal("the rollback was not finished"))?;
        written.map_err(|error| of_rollback(&error))?;
        for rules in shared.live.all() {
            // What is wrong with another server's settings is told by that server.
            let _ = read_anew(shared, &rules).await;
        }
        let noted = self.in_force(server).await;
        noted.map(drop).map_err(|error| of_policy(&error))
    }

    /// What is in force now.
    async fn after(&self, server: &Server, told: &mut RollbackResponse) {
        let snapshot = self.supervisor.snapshot(&server.name);
        let launches = snapshot.map(|snapshot| snapshot.launches);
        if let Some(control) = launches.iter().flatten().last() {
            told.next_start = control.rules.standing().next_start;
        }
        if let Ok(loaded) = self.in_force(server).await {
            told.policy = Some(reference(&loaded.generation));
        }
    }
}

/// The first file that is there, as it is.
fn unusable(candidates: &[PathBuf]) -> Vec<Document> {
    let read = |path: &PathBuf| {
        let text = text_of(path).ok().flatten()?;
        Some(Document {
            layer: "server".to_owned(),
            path: path.display().to_string(),
            text,
        })
    };
    candidates.iter().find_map(read).into_iter().collect()
}

fn by(settings: Option<&str>) -> String {
    match settings {
        Some(path) => format!("with --settings {path}"),
        None => "without --settings".to_owned(),
    }
}

fn file(step: &Step) -> RestoredFile {
    RestoredFile {
        path: step.path.display().to_string(),
        action: step.action.word().to_owned(),
        saved_as: step
            .saved_as
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        note: match &step.action {
            Action::Differs(why) => why.clone(),
            _ => String::new(),
        },
    }
}

fn refused(message: String) -> Status {
    status(Code::FailedPrecondition, exit::ERROR, message)
}

fn of_rollback(error: &RollbackError) -> Status {
    refused(error.to_string())
}
