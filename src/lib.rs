//! slackwater

pub mod config;
pub mod framing;
pub mod ledger;
pub mod limits;
pub mod message;
