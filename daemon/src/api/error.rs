//! Failures as statuses: a message for a person, and the exit status that a command-line client should end with.

use srt_proto::exit;
use tonic::{Code, Status};

use crate::life::UpgradeError;
use crate::policies::PolicyError;
use crate::session::AttachError;
use crate::store::StoreError;
use crate::supervisor::{NotAttached, Refused};

/// A status whose trailer carries `exit_code`.
pub(crate) fn status(code: Code, exit_code: i32, message: impl Into<String>) -> Status {
    let mut status = Status::new(code, message);
    if let Ok(value) = exit_code.to_string().parse() {
        status.metadata_mut().insert(srt_proto::EXIT_CODE, value);
    }
    status
}

/// The request is not well-formed.
pub(crate) fn bad_request(message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, exit::USAGE, message)
}

/// There is no such server.
pub(crate) fn unknown(name: &str) -> Status {
    status(
        Code::NotFound,
        exit::UNKNOWN_NAME,
        format!("no server {name:?}\nhint: \"srtctl list\" shows those there are"),
    )
}

pub(crate) fn of_refusal(refused: &Refused) -> Status {
    let code = match refused.exit_code() {
        exit::POLICY_INVALID => Code::FailedPrecondition,
        exit::DENIED => Code::PermissionDenied,
        exit::UNREACHABLE => Code::Unavailable,
        126 | 127 => Code::NotFound,
        _ => Code::Internal,
    };
    status(code, refused.exit_code(), refused.to_string())
}

pub(crate) fn of_attach(error: &AttachError) -> Status {
    match error {
        AttachError::BadName(_) | AttachError::RelativeCwd(_) => bad_request(error.to_string()),
        AttachError::Unknown(_) => status(Code::NotFound, exit::UNKNOWN_NAME, error.to_string()),
        AttachError::Descriptor(_) => {
            status(Code::PermissionDenied, exit::DENIED, error.to_string())
        }
        AttachError::NotAttached(NotAttached::Refused(refused)) => of_refusal(refused),
        AttachError::NotAttached(other) => status(
            Code::FailedPrecondition,
            exit::NOT_RUNNING,
            other.to_string(),
        ),
        AttachError::Store(error) => of_store(error),
    }
}

pub(crate) fn of_policy(error: &PolicyError) -> Status {
    match error {
        PolicyError::Store(error) => of_store(error),
        _ => status(
            Code::FailedPrecondition,
            exit::POLICY_INVALID,
            error.to_string(),
        ),
    }
}

pub(crate) fn of_upgrade(error: &UpgradeError) -> Status {
    let code = match error {
        UpgradeError::Relative(_) => return bad_request(error.to_string()),
        UpgradeError::UnderWay => Code::Unavailable,
        _ => Code::FailedPrecondition,
    };
    status(code, exit::ERROR, error.to_string())
}

pub(crate) fn of_store(error: &StoreError) -> Status {
    match error {
        StoreError::ServerExists { .. } => {
            status(Code::AlreadyExists, exit::ERROR, error.to_string())
        }
        _ => status(Code::Internal, exit::ERROR, error.to_string()),
    }
}
