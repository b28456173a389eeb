//! `srtctl policy diff`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use srt_policy::{Difference, Effect, Origin, Policy};
use srt_proto::exit;
use srt_proto::v1::{PolicyDiffRequest, PolicyDiffResponse, PolicyDifference};
use tonic::{Code, Status};

use super::{Api, of_policy, of_store, status};
use crate::store::{Generation, InForce, Server};

impl Api {
    pub(super) async fn policy_diff(
        &self,
        request: PolicyDiffRequest,
    ) -> Result<PolicyDiffResponse, Status> {
        let server = self.server_named(&request.name).await?;
        let to = match request.to {
            0 => {
                let loaded = self.in_force(&server).await;
                let loaded = loaded.map_err(|error| of_policy(&error))?;
                loaded.generation.number
            }
            number => number,
        };
        let (_, from_kept) = self.generation_of(&server, request.from).await?;
        let (place, to_kept) = self.generation_of(&server, to).await?;
        let before = self.compiled(&server, &from_kept, &place)?;
        let after = self.compiled(&server, &to_kept, &place)?;
        Ok(PolicyDiffResponse {
            from: request.from,
            to,
            differences: told(before.differences(&after)),
        })
    }

    /// A generation of a server's history, with when it was last put in force.
    pub(super) async fn generation_of(
        &self,
        server: &Server,
        number: u64,
    ) -> Result<(InForce, Generation), Status> {
        let store = &self.supervisor.shared.store;
        let history = store.policy_history(&server.name).await;
        let history = history.map_err(|error| of_store(&error))?;
        let found = history
            .into_iter()
            .rfind(|(row, _)| row.generation == number);
        found.ok_or_else(|| {
            status(
                Code::NotFound,
                exit::UNKNOWN_NAME,
                format!(
                    "generation {number} was never in force for {}\nhint: \"srtctl policy history {}\" lists those that were",
                    server.name, server.name
                ),
            )
        })
    }

    /// A generation as it is read in the working directory of `place`.
    pub(super) fn compiled(
        &self,
        server: &Server,
        kept: &Generation,
        place: &InForce,
    ) -> Result<Policy, Status> {
        let cwd = match place.cwd.as_str() {
            "" => self.cwd_of(server),
            cwd => PathBuf::from(cwd),
        };
        let policies = &self.supervisor.shared.policies;
        let program = policies.program(&server.command, &BTreeMap::new(), &cwd);
        policies
            .compile_kept(&kept.policy, &cwd, program)
            .map_err(|invalid| {
                status(
                    Code::FailedPrecondition,
                    exit::POLICY_INVALID,
                    format!(
                        "generation {} cannot be read by this version of srtd: {invalid}",
                        kept.id
                    ),
                )
            })
    }
}

/// Differences in the contract's words.
pub(super) fn told(differences: Vec<Difference>) -> Vec<PolicyDifference> {
    let told = differences.into_iter().map(|difference| {
        let (file, line) = match difference.origin {
            Some(Origin::File { path, line, .. }) => (path.display().to_string(), line),
            Some(Origin::BuiltIn(_)) => ("built-in".to_owned(), 0),
            Some(grant @ Origin::Grant { .. }) => (grant.to_string(), 0),
            None => (String::new(), 0),
        };
        PolicyDifference {
            effect: match difference.effect {
                Effect::Loosens => "loosens",
                Effect::Tightens => "tightens",
                Effect::Neutral => "neutral",
            }
            .to_owned(),
            text: difference.text,
            key: difference.key.to_owned(),
            file,
            line,
        }
    });
    told.collect()
}
