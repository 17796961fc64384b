//! slackwater

pub mod cli;
pub mod config;
pub mod framing;
pub mod limits;
pub mod message;
