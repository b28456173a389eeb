//! `srt.v1.Events`: every change of a server's state, as it happens.

use srt_proto::v1::events_server::Events;
use srt_proto::v1::{Event, WatchRequest};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Api;
use super::paged::{Answers, time};
use crate::supervisor::Transition;

#[tonic::async_trait]
impl Events for Api {
    type WatchStream = Answers<Event>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let WatchRequest {
            names,
            follow,
            limit,
        } = request.into_inner();
        for name in &names {
            self.must_know(name).await?;
        }
        let shared = &self.supervisor.shared;
        let (mut newest, later) = shared.transitions.listen();
        newest.retain(|transition| is_meant(&names, transition));
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        newest.drain(..newest.len().saturating_sub(limit));
        let (sender, receiver) = mpsc::channel(64);
        let shutdown = shared.shutdown.clone();
        shared.tracker.spawn(async move {
            let told = async {
                for transition in newest {
                    if sender.send(Ok(event(transition))).await.is_err() {
                        return;
                    }
                }
                if follow {
                    tell(&names, later, &sender).await;
                }
            };
            tokio::select! {
                () = told => {}
                () = sender.closed() => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

fn is_meant(names: &[String], transition: &Transition) -> bool {
    names.is_empty() || names.contains(&transition.server)
}

/// Tells what comes. A reader that is too slow misses some, and is told how many.
async fn tell(
    names: &[String],
    mut later: Receiver<Transition>,
    sender: &mpsc::Sender<Result<Event, Status>>,
) {
    loop {
        let event = match later.recv().await {
            Ok(transition) if is_meant(names, &transition) => event(transition),
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => Event {
                missed,
                ..Event::default()
            },
            Err(RecvError::Closed) => return,
        };
        if sender.send(Ok(event)).await.is_err() {
            return;
        }
    }
}

fn event(transition: Transition) -> Event {
    let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    Event {
        number: transition.number,
        at: time(transition.at),
        server: transition.server,
        launch: id(transition.launch),
        session: id(transition.session),
        from: transition.from.name().to_owned(),
        to: transition.to.name().to_owned(),
        reason: transition.reason,
        missed: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::State;
    use jiff::Timestamp;

    fn transition(number: u64, server: &str) -> Transition {
        Transition {
            number,
            server: server.into(),
            launch: None,
            session: None,
            from: State::Stopped,
            to: State::Starting,
            reason: String::new(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_missed() {
        let (told, later) = tokio::sync::broadcast::channel(2);
        for number in 1..=5 {
            told.send(transition(number, "git")).unwrap();
        }
        told.send(transition(6, "other")).unwrap();
        drop(told);
        let (sender, mut receiver) = mpsc::channel(8);
        tell(&["git".to_owned()], later, &sender).await;
        drop(sender);
        let mut heard = Vec::new();
        while let Some(event) = receiver.recv().await {
            let event = event.unwrap();
            heard.push((event.missed, event.number));
        }
        assert_eq!(heard, [(4, 0), (0, 5)]);
    }
}
