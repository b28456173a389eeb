//! Shipping the audit log to a collector: every entry at least once, in order, at the collector's pace.
//!
//! The log itself is the queue: what is sent is read from the database, and how far that has got is recorded there after
//! each answer. So nothing that the daemon does waits for a collector, and neither a collector's end nor the daemon's
//! loses an entry; one that was sent just before either may come twice, with the same number.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use srt_policy::Otlp;
use tokio::sync::watch;

use super::record::{Origin, export};
use super::send::{Answer, Collector};
use crate::audit::Record;
use crate::store::{AuditQuery, Shipped, StoreError};
use crate::supervisor::Shared;

/// Entries in one request at most.
const BATCH: u32 = 512;
/// How long entries may gather.
const LINGER: Duration = Duration::from_millis(500);
/// How long is waited after a failure: at first, and at most.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LAST: Duration = Duration::from_secs(60);
/// A collector that asks for more patience is asked again after this.
const WAIT_ASKED: Duration = Duration::from_secs(600);

/// How shipping goes.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// How far the collector has got.
    pub(crate) shipped: Shipped,
    /// When it last took something.
    pub(crate) last: Option<Timestamp>,
    /// Why it takes nothing at present.
    pub(crate) trouble: Option<String>,
    /// Attempts that failed since the daemon started.
    pub(crate) failures: u64,
}

/// How shipping goes, for whoever asks; none where no collector is named.
pub(crate) type Shipping = watch::Sender<Option<Progress>>;

impl Progress {
    /// How many entries wait, of as many as there are.
    pub(crate) fn behind(&self, newest: u64) -> u64 {
        newest.saturating_sub(self.shipped.seq)
    }
}

/// Ships to whatever collector the user's settings name, until the daemon stops. What is written after that is shipped at the
/// next start.
pub(crate) async fn ship(shared: Arc<Shared>) {
    let mut settings = shared.settings.subscribe();
    loop {
        let otlp = settings.borrow_and_update().otlp.clone();
        let work = async {
            match &otlp {
                Some(otlp) => run(&shared, otlp).await,
                None => {
                    shared.shipping.send_replace(None);
                    std::future::pending().await
                }
            }
        };
        tokio::select! {
            () = work => {}
            changed = settings.changed() => if changed.is_err() { return },
            () = shared.shutdown.cancelled() => return,
        }
    }
}

async fn run(shared: &Shared, otlp: &Otlp) {
    let mut wait = WAIT_FIRST;
    let mut shipped = loop {
        match shared.store.shipped(&otlp.endpoint).await {
            Ok(shipped) => break shipped,
            Err(error) => tracing::error!(%error, "cannot read how far the audit log was shipped"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_LAST);
    };
    tracing::info!(endpoint = %otlp.endpoint, after = shipped.seq, "shipping the audit log");
    let failures = shared
        .shipping
        .borrow()
        .as_ref()
        .map_or(0, |before| before.failures);
    let tell = |change: &dyn Fn(&mut Progress)| {
        shared.shipping.send_modify(|progress| {
            if let Some(progress) = progress {
                change(progress);
            }
        });
    };
    shared.shipping.send_replace(Some(Progress {
        shipped: shipped.clone(),
        last: None,
        trouble: None,
        failures,
    }));
    let mut collector = match Collector::new(otlp, shared.tracker.clone()) {
        Ok(collector) => collector,
        Err(why) => {
            tracing::error!(endpoint = %otlp.endpoint, "cannot ship the audit log: {why}");
            tell(&|progress| progress.trouble = Some(why.clone()));
            return std::future::pending().await;
        }
    };
    let origin = origin(&shipped);
    let mut shipment = Shipment {
        shared,
        origin: &origin,
        collector: &mut collector,
        most: BATCH,
    };
    let mut wait = WAIT_FIRST;
    loop {
        let pause = match shipment.next(&mut shipped).await {
            Ok(Next::Nothing) => {
                wait_for_more(shared, shipped.seq).await;
                continue;
            }
            Ok(Next::Sent) => {
                wait = WAIT_FIRST;
                let (now, at) = (Timestamp::now(), shipped.clone());
                tell(&|progress| {
                    if progress.trouble.take().is_some() {
                        tracing::info!(endpoint = %at.endpoint, "the collector takes audit entries again");
                    }
                    progress.last = Some(now);
                    progress.shipped = at.clone();
                });
                // What cannot be noted now is noted with the next, or is sent again.
                if let Err(error) = shared.store.note_shipped(shipped.clone()).await {
                    tracing::warn!(%error, "cannot record how far the audit log was shipped");
                }
                continue;
            }
            Ok(Next::Again) => continue,
            Ok(Next::Wait { why, after }) => {
                let asked = after.map_or(wait, |after| after.min(WAIT_ASKED).max(WAIT_FIRST));
                trouble(shared, &otlp.endpoint, &why);
                asked
            }
            Err(error) => {
                trouble(shared, &otlp.endpoint, &error.to_string());
                wait
            }
        };
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(WAIT_LAST);
    }
}

/// Told once, until the reason is another one.
fn trouble(shared: &Shared, endpoint: &str, why: &str) {
    shared.shipping.send_modify(|progress| {
        if let Some(progress) = progress {
            progress.failures += 1;
            if progress.trouble.as_deref() != Some(why) {
                tracing::warn!(
                    endpoint,
                    "the collector does not take audit entries, which wait in the log: {why}"
                );
            }
            progress.trouble = Some(why.to_owned());
        }
    });
}

/// Waits until there is an entry after `seq`, and a little for others.
async fn wait_for_more(shared: &Shared, seq: u64) {
    let mut tail = shared.store.audit_tail();
    if tail.wait_for(|newest| *newest > seq).await.is_err() {
        // The store is closed, and the daemon about to end.
        return std::future::pending().await;
    }
    tokio::time::sleep(LINGER).await;
}

fn origin(shipped: &Shipped) -> Origin {
    Origin {
        instance: shipped.instance.to_string(),
        host: host(),
        uid: rustix::process::getuid().as_raw(),
    }
}

/// This machine's name.
pub(crate) fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

enum Next {
    /// There is nothing to send.
    Nothing,
    /// It was taken; how far is in what was handed in.
    Sent,
    /// Not yet: in smaller parts.
    Again,
    /// It was not taken.
    Wait {
        why: String,
        after: Option<Duration>,
    },
}

struct Shipment<'a> {
    shared: &'a Shared,
    origin: &'a Origin,
    collector: &'a mut Collector,
    /// Entries in the next request; less where a collector refused more.
    most: u32,
}

impl Shipment<'_> {
    async fn next(&mut self, shipped: &mut Shipped) -> Result<Next, StoreError> {
        let records = self.after(shipped.seq, self.most).await?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(Next::Nothing);
        };
        let (first, last) = (first.seq, last.seq);
        match self.collector.send(export(self.origin, &records)).await {
            Answer::Taken { rejected, why } => {
                take(shipped, first, last);
                if rejected > 0 {
                    tracing::warn!(
                        first,
                        last,
                        rejected,
                        "the collector did not take some audit entries: {why}"
                    );
                    shipped.rejected += rejected;
                }
                self.most = (self.most * 2).min(BATCH);
                Ok(Next::Sent)
            }
            Answer::Later { why, after } => Ok(Next::Wait { why, after }),
            Answer::Refused { .. } if records.len() > 1 => {
                self.most = (records.len() as u32 / 2).max(1);
                Ok(Next::Again)
            }
            Answer::Refused { why } => self.without(shipped, first, why).await,
        }
    }

    /// An entry was refused by itself. If the next one is taken, it is that entry's fault; if not, it is the collector's.
    async fn without(
        &mut self,
        shipped: &mut Shipped,
        refused: u64,
        why: String,
    ) -> Result<Next, StoreError> {
        let next = self.after(refused, 1).await?;
        let Some(seq) = next.first().map(|record| record.seq) else {
            return Ok(Next::Wait { why, after: None });
        };
        match self.collector.send(export(self.origin, &next)).await {
            Answer::Taken { rejected, .. } => {
                tracing::warn!(
                    seq = refused,
                    "the collector does not take an audit entry: {why}"
                );
                take(shipped, refused, seq);
                shipped.rejected += 1 + rejected;
                Ok(Next::Sent)
            }
            _ => Ok(Next::Wait { why, after: None }),
        }
    }

    async fn after(&self, seq: u64, most: u32) -> Result<Vec<Record>, StoreError> {
        let query = AuditQuery {
            after_seq: seq,
            limit: Some(most),
            oldest: true,
            ..AuditQuery::default()
        };
        self.shared.store.audit(query).next().await
    }
}

/// Numbers have no gaps: what lies between the last one shipped and `first` was pruned.
fn take(shipped: &mut Shipped, first: u64, last: u64) {
    let missed = first.saturating_sub(shipped.seq + 1);
    if missed > 0 {
        tracing::warn!(
            missed,
            before = first,
            "audit entries were pruned before they could be shipped"
        );
        shipped.missed += missed;
    }
    shipped.seq = last;
}
