//! slackwater

pub mod config;
pub mod framing;
pub mod limits;
pub mod load;
pub mod message;
pub mod socket;
