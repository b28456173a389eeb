//! The direct socket's messages: protobuf with its length in front, and descriptors beside it (SCM_RIGHTS).

use prost::Message;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// No message may be longer, in bytes: what gRPC decodes by default, so that direct mode opens what an attachment does.
pub const LONGEST: usize = 4 << 20;
/// Descriptors that a message may bring.
const DESCRIPTORS: usize = 3;
const LENGTH: usize = size_of::<u32>();

/// One end of a connection to the direct socket.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    /// What came of a message that is not whole yet.
    came: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Link {
    /// Over a connection on which nothing was said yet.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            came: Vec::new(),
            descriptors: Vec::new(),
        }
    }

    /// Sends a message, with at most three descriptors. When it is given up half-way, the connection is of no use.
    ///
    /// # Errors
    /// When the other end is gone, or the message too long (`InvalidInput`).
    pub async fn send(
        &self,
        message: &impl Message,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let length = u32::try_from(message.encoded_len())
            .ok()
            .filter(|length| *length as usize <= LONGEST)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{} bytes are more than {LONGEST}", message.encoded_len()),
                )
            })?;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(message.encode_to_vec());
        let mut sent = 0;
        while sent < bytes.len() {
            // With the first byte; the kernel takes them with any part of what is offered.
            let beside = if sent == 0 { descriptors } else { &[] };
            sent += self
                .stream
                .async_io(Interest::WRITABLE, || {
                    send_some(&self.stream, &bytes[sent..], beside)
                })
                .await?;
        }
        Ok(())
    }

    /// The next message and what came with it; `None` at the end of the connection. Cancel safe.
    ///
    /// # Errors
    /// When the connection ends within a message, or the other end does not keep to the bounds (`InvalidData`).
    pub async fn receive<M: Message + Default>(&mut self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some((message, std::mem::take(&mut self.descriptors))));
            }
            let (stream, descriptors) = (&self.stream, &mut self.descriptors);
            let mut buffer = [0; 16 * 1024];
            let count = stream
                .async_io(Interest::READABLE, || {
                    receive_some(stream, &mut buffer, descriptors)
                })
                .await?;
            match count {
                0 if self.came.is_empty() => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.came.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Takes the first message of what came, if all of it did.
    fn whole<M: Message + Default>(&mut self) -> io::Result<Option<M>> {
        let Some((length, rest)) = self.came.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > LONGEST {
            return Err(invalid(format!(
                "a message of {length} bytes, where {LONGEST} are the most"
            )));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = M::decode(body).map_err(|error| invalid(error.to_string()))?;
        self.came.drain(..LENGTH + length);
        Ok(Some(message))
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn send_some(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors for one message",
        ));
    }
    Ok(sendmsg(
        stream,
        &[IoSlice::new(bytes)],
        &mut beside,
        SendFlags::empty(),
    )?)
}

fn receive_some(
    stream: &UnixStream,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(
        stream,
        &mut [IoSliceMut::new(buffer)],
        &mut beside,
        CLOSED_AT_EXEC,
    )?;
    for control in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = control {
            for descriptor in received {
                rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
                descriptors.push(descriptor);
            }
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > DESCRIPTORS {
        return Err(invalid(format!(
            "more than {DESCRIPTORS} descriptors came with one message"
        )));
    }
    Ok(message.bytes)
}

/// From the first moment, where the kernel can: another thread may start a program in between.
#[cfg(target_os = "linux")]
const CLOSED_AT_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const CLOSED_AT_EXEC: RecvFlags = RecvFlags::empty();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::DirectFailure;
    use std::os::fd::AsFd as _;
    use tokio::io::AsyncWriteExt as _;

    fn failure(length: usize) -> DirectFailure {
        DirectFailure {
            message: "x".repeat(length),
            exit_code: 7,
        }
    }

    #[tokio::test]
    async fn messages_and_descriptors_arrive_whole_and_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, mut theirs) = (Link::new(ours), Link::new(theirs));
        let sending = tokio::spawn(async move {
            let (reader, _writer) = std::io::pipe().unwrap();
            let file = reader.as_fd();
            ours.send(&failure(300_000), &[file, file]).await.unwrap();
            ours.send(&failure(3), &[]).await.unwrap();
        });
        let (first, with) = theirs.receive::<DirectFailure>().await.unwrap().unwrap();
        assert_eq!((first, with.len()), (failure(300_000), 2));
        let (second, with) = theirs.receive::<DirectFailure>().await.unwrap().unwrap();
        assert_eq!((second, with.len()), (failure(3), 0));
        sending.await.unwrap();
        assert!(theirs.receive::<DirectFailure>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_breaks_the_bounds_is_refused() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut theirs = Link::new(theirs);
        ours.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        let error = theirs.receive::<DirectFailure>().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut theirs = Link::new(theirs);
        let (reader, _writer) = std::io::pipe().unwrap();
        // Past our own sender, which would refuse to send so many.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let four = [reader.as_fd(); 4];
        assert!(beside.push(SendAncillaryMessage::ScmRights(&four)));
        sendmsg(
            &ours,
            &[IoSlice::new(b"abcd")],
            &mut beside,
            SendFlags::empty(),
        )
        .unwrap();
        let error = theirs.receive::<DirectFailure>().await.unwrap_err();
        assert!(error.to_string().contains("more than 3"), "{error}");
    }

    #[tokio::test]
    async fn an_end_within_a_message_is_no_end() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut theirs = Link::new(theirs);
        ours.write_all(&[9, 0, 0, 0, 1]).await.unwrap();
        drop(ours);
        let error = theirs.receive::<DirectFailure>().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
