//! The bytes of a file of a model, as a source sends them.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::RequestBuilder;

use super::FetchError;
use super::error::ErrorContext;
use super::listing::RemoteFile;
use crate::PublishError;
use crate::http::Http;

/// The bytes of a file, from `start` on.
pub(super) struct FileStream {
    pub(super) start: u64,
    pub(super) pieces: Pieces,
}

pub(super) type Pieces = BoxStream<'static, Result<Bytes, FetchError>>;

impl FileStream {
    /// Sends `request`, which asks for a file, and begins at `offset` where the server can.
    ///
    /// # Errors
    /// There is no answer, or another.
    pub(super) async fn over_http(
        http: &Http,
        context: &ErrorContext,
        file: &RemoteFile,
        request: RequestBuilder,
        offset: u64,
    ) -> Result<Self, PublishError> {
        let (start, pieces) = http.get_file(&file.name, request, offset).await?;
        let context = context.clone();
        let pieces = pieces.map(move |piece| piece.map_err(|error| context.answered(error)));
        Ok(Self {
            start,
            pieces: pieces.boxed(),
        })
    }
}
