//! Where a connection waits while a person is asked (`network.ask`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use srt_policy::{Decision, Denial, NetworkPolicy, Permit, Question, Target};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::context::Context;
use crate::{Event, FrontEnd};

/// Asks a person. The future is dropped when the client leaves or the sandbox ends.
pub trait Gate: Send + Sync + 'static {
    /// Asks about one connection; several to one target are several calls. Bounding the time is the gate's own affair.
    fn ask<'a>(&'a self, asked: Asked) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;
}

impl std::fmt::Debug for dyn Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

/// A connection that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it was asked.
    pub front_end: FrontEnd,
    /// What was asked for.
    pub target: Target,
    /// What it is if nobody says yes.
    pub denial: Denial,
}

/// A person's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This one connection may pass, by the grant of this name.
    Once {
        /// The grant, as the flow's rule names it.
        grant: String,
    },
    /// The policy in force has changed: it is to decide again.
    DecideAgain,
    /// No, or no answer.
    Refused {
        /// The words why: "denied by ada", "nobody answered within 60 s".
        reason: String,
    },
}

/// How often a client with unread data is looked at for whether it has left: the kernel wakes for data once only.
const LOOK: std::time::Duration = std::time::Duration::from_millis(200);

const LEFT: &str = "the connection was given up before anybody answered";

impl Context {
    /// Holds a connection until its question is answered. `client` is watched where nobody else does it.
    ///
    /// Whatever the answer, it is the policy in force then that lets pass, and never the gate.
    pub(crate) async fn held(
        self: &Arc<Self>,
        front_end: FrontEnd,
        question: Question,
        client: Option<&TcpStream>,
    ) -> Result<(Arc<NetworkPolicy>, Permit), Denial> {
        let Some(gate) = &self.gate else {
            return Err(question.denial().clone());
        };
        let Ok(_slot) = self.held.try_acquire() else {
            let why = format!(
                "{} connections of this sandbox wait for an answer already",
                self.bounds.held
            );
            return Err(because(question.denial().clone(), &why));
        };
        let mut unanswered = Unanswered {
            context: self,
            front_end,
            denial: Some(question.denial().clone()),
        };
        let asked = Asked {
            front_end,
            target: question.target().clone(),
            denial: question.denial().clone(),
        };
        let verdict = tokio::select! {
            verdict = gate.ask(asked) => verdict,
            () = left(client) => Verdict::Refused { reason: LEFT.to_owned() },
        };
        unanswered.denial = None;
        let policy = self.policy();
        match verdict {
            Verdict::Refused { reason } => Err(because(question.denial().clone(), &reason)),
            Verdict::Once { grant } => {
                let permit = policy.permit_once(&question, &grant)?;
                Ok((policy, permit))
            }
            Verdict::DecideAgain => match policy.decide(question.target()) {
                Decision::Allow(permit) => Ok((policy, permit)),
                Decision::Deny(denial) => Err(denial),
                Decision::Ask(question) => Err(question.denial().clone()),
            },
        }
    }
}

/// Records the refusal of a connection whose waiting was cut short: the front end dropped it with its client, or the
/// sandbox ended.
struct Unanswered<'a> {
    context: &'a Context,
    front_end: FrontEnd,
    denial: Option<Denial>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(denial) = self.denial.take()
            && self.context.policy().records_denials()
        {
            self.context.record_now(Event::Denied {
                front_end: self.front_end,
                denial: because(denial, LEFT),
            });
        }
    }
}

fn because(mut denial: Denial, why: &str) -> Denial {
    denial.reason.push_str("; ");
    denial.reason.push_str(why);
    denial
}

/// Waits until the client has closed its connection, or its half of it: the two look the same.
async fn left(client: Option<&TcpStream>) {
    let Some(client) = client else {
        return std::future::pending().await;
    };
    loop {
        match client.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(LOOK).await,
            Ok(_) | Err(_) => return,
        }
    }
}
