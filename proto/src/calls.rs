//! Calls the daemon. Every call takes the same way, whatever its messages are: a
//! generated client has a copy of the whole way for each call, in every command.
//!
//! Knows no policy and no call by name: `build.rs` reads in the contract which
//! question goes to which method.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::tokio_stream::{self, Stream, StreamExt};
use tonic::{Request, Status};

use crate::MAX_FRAME_LEN;
use crate::channel::{Channel, ORIGIN};
use crate::codec::{BUFFER, ENOUGH};
use crate::v1::{RelayRequest, RelayResponse};

/// A question, and what answers it.
pub trait Call: Message + 'static {
    /// Where it is asked: `/package.Service/Method`.
    const METHOD: &'static str;
    /// What answers it, once or again and again.
    type Answer: Message + Default;
}

include!(concat!(env!("OUT_DIR"), "/calls.rs"));

impl Channel {
    /// Asks and waits for the one answer.
    ///
    /// # Errors
    /// What the daemon says instead, or that it went away.
    pub async fn ask<C: Call>(&self, question: C) -> Result<C::Answer, Status> {
        let answer = one(self.begin(C::METHOD, once(question))).await?;
        C::Answer::decode(answer).map_err(unreadable)
    }

    /// Asks for answers that come as long as there is something to say.
    ///
    /// # Errors
    /// What the daemon says instead, or that it went away.
    pub async fn follow<C: Call>(&self, question: C) -> Result<Answers<C::Answer>, Status> {
        let stream = self.begin(C::METHOD, once(question)).await?;
        Ok(Answers::of(stream))
    }

    /// Opens a stream both ways: [`RELAY`] or [`CALL`].
    ///
    /// # Errors
    /// What the daemon says instead, or that it went away.
    pub async fn converse(
        &self,
        method: &'static str,
        requests: impl Stream<Item = RelayRequest> + Send + 'static,
    ) -> Result<Answers<RelayResponse>, Status> {
        let requests = requests.map(|request| -> Sent { Box::new(request) });
        let stream = self.begin(method, Box::pin(requests)).await?;
        Ok(Answers::of(stream))
    }

    /// The way of every call.
    fn begin(&self, method: &'static str, messages: Messages) -> Boxed<Streaming<Bytes>> {
        let mut client = Grpc::with_origin(self.clone(), http::Uri::from_static(ORIGIN))
            .max_decoding_message_size(MAX_FRAME_LEN)
            .max_encoding_message_size(MAX_FRAME_LEN);
        Box::pin(async move {
            let lost = |error: hyper::Error| Status::from_error(error.into());
            client.ready().await.map_err(lost)?;
            let method = http::uri::PathAndQuery::from_static(method);
            let answer = client.streaming(Request::new(messages), method, Uncoded);
            Ok(answer.await?.into_inner())
        })
    }
}

/// Waits for the one answer, and for the status behind it.
fn one(begun: Boxed<Streaming<Bytes>>) -> Boxed<Bytes> {
    Box::pin(async move {
        let mut stream = begun.await?;
        let answer = stream.message().await?;
        let answer = answer.ok_or_else(|| Status::internal("there is no answer"))?;
        let _trailers = stream.trailers().await?;
        Ok(answer)
    })
}

fn once(question: impl Message + 'static) -> Messages {
    let question: Sent = Box::new(question);
    Box::pin(tokio_stream::once(question))
}

fn unreadable(error: prost::DecodeError) -> Status {
    Status::internal(error.to_string())
}

/// Answers as they come.
#[derive(Debug)]
pub struct Answers<A> {
    stream: Streaming<Bytes>,
    answer: PhantomData<fn() -> A>,
}

impl<A: Message + Default> Answers<A> {
    fn of(stream: Streaming<Bytes>) -> Self {
        Self {
            stream,
            answer: PhantomData,
        }
    }

    /// Waits for the next; `None`: that was all. Cancel safe.
    ///
    /// # Errors
    /// Why the daemon ends it, or that it went away.
    pub async fn message(&mut self) -> Result<Option<A>, Status> {
        let message = self.stream.message().await?;
        message.map(A::decode).transpose().map_err(unreadable)
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Sent> + Send>>;
type Sent = Box<dyn Encode>;

/// A message of whatever kind.
trait Encode: Send + Sync {
    fn encode(&self, buffer: &mut EncodeBuf<'_>);
}

impl<M: Message> Encode for M {
    fn encode(&self, buffer: &mut EncodeBuf<'_>) {
        Message::encode(self, buffer).expect("the buffer grows");
    }
}

/// Encodes whatever is sent, and leaves what comes as it is.
struct Uncoded;

impl Codec for Uncoded {
    type Encode = Sent;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Uncoded {
    type Item = Sent;
    type Error = Status;

    fn encode(&mut self, message: Sent, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, ENOUGH)
    }
}

impl Decoder for Uncoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, ENOUGH)
    }
}
