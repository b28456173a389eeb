//! Direct mode: a host hands its own descriptors over, and nothing is carried.

use super::descriptors::DescriptorError;
use super::{AttachError, Request, planned};
use crate::supervisor::{Direct, Handed, NotAttached, Supervisor, launch_direct, record_refusal};

/// Launches what a host asks for, on what it handed over.
pub(crate) async fn open_direct(
    supervisor: &Supervisor,
    request: Request,
    handed: Result<Handed, DescriptorError>,
) -> Result<Direct, AttachError> {
    let shared = &supervisor.shared;
    let (plan, _) = planned(supervisor, request.plan).await?;
    let name = plan.name.clone();
    let handed = match handed {
        Ok(handed) => handed,
        Err(error) => {
            // Before any policy is looked at.
            record_refusal(shared, &plan, "descriptors", &error.to_string(), None).await;
            return Err(error.into());
        }
    };
    let direct = launch_direct(shared, plan, handed, request.client_pid)
        .await
        .map_err(NotAttached::from)?;
    let server = supervisor.server(&name);
    server.runs_directly(direct.control.clone()).await;
    Ok(direct)
}
