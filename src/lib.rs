//! slackwater

pub mod config;
pub mod framing;
pub mod limits;
pub mod message;
pub mod socket;
