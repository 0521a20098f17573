//! Each registry against a real server on loopback: published, read back by somebody else's client,
//! published again, and fetched as a model to compress.
//!
//! The Hugging Face Hub is the exception: its server cannot be had, so `scripts/hub.py` stands in
//! for it, and the official client has to get along with it first. The Xet store behind it is
//! Hugging Face's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod back;
mod hub;
mod mlflow;
mod oci;
mod places;
mod proxy;
mod s3;
mod support;
mod xet;
