//! Slow readers of the whole input, one a format: what the framers are compared with.
//!
//! Lives here: nothing that knows of pieces, buffers or runs.

use super::super::checks::Outcome;
use super::super::{Bounds, FramingError, Oversize, SourceFraming};
use crate::limits::{MAX_MESSAGE_MAX, OCTET_COUNT_DIGITS};
use crate::message::Framing;

/// All of a connection's input, or of a datagram that was not cut.
pub(super) fn read(framing: impl Into<SourceFraming>, bounds: Bounds, input: &[u8]) -> Outcome {
    match framing.into() {
        SourceFraming::Always(Framing::Line) => read_delimited(bounds, input, b'\n', b"\r"),
        SourceFraming::Always(Framing::Nul) => read_delimited(bounds, input, b'\0', b""),
        SourceFraming::Always(Framing::Octet) => read_counted(bounds, input, read_count),
        SourceFraming::Always(Framing::U32) => read_counted(bounds, input, read_length),
        SourceFraming::Always(Framing::Datagram) => read_datagram(bounds, input, false),
        SourceFraming::Auto if input.first().is_some_and(u8::is_ascii_digit) => {
            read(Framing::Octet, bounds, input)
        }
        SourceFraming::Auto => read(Framing::Line, bounds, input),
    }
}

/// A datagram that the kernel cut off.
pub(super) fn read_cut(framing: Framing, bounds: Bounds, datagram: &[u8]) -> Outcome {
    match framing {
        Framing::Datagram => read_datagram(bounds, datagram, true),
        Framing::Octet | Framing::U32 => {
            let outcome = read(framing, bounds, datagram);
            Outcome { torn: outcome.error.is_none(), ..outcome }
        }
        Framing::Line => read_cut_delimited(framing, bounds, datagram, b'\n', b"\r"),
        Framing::Nul => read_cut_delimited(framing, bounds, datagram, b'\0', b""),
    }
}

fn read_cut_delimited(framing: Framing, bounds: Bounds, datagram: &[u8], end: u8, lead: &[u8]) -> Outcome {
    let whole = datagram.iter().rposition(|&byte| byte == end).map_or(0, |last| last + 1);
    let (whole, last) = datagram.split_at(whole);
    let mut outcome = read(framing, bounds, whole);
    if outcome.error.is_some() {
        return outcome;
    }
    let counted = last.strip_suffix(lead).unwrap_or(last).len();
    if bounds.oversize == Oversize::Close {
        let (received, max) = (datagram.len(), bounds.max_message);
        outcome.error = Some(match counted > max {
            true => FramingError::Oversize { len: max + 1, max },
            false => FramingError::Cut { received },
        });
        return outcome;
    }
    let kept = &last[..last.len().min(bounds.max_message)];
    take_excess(&mut outcome, bounds, trimmed(kept, lead));
    outcome
}

/// A message of which that much would be relayed is too long.
fn take_excess(outcome: &mut Outcome, bounds: Bounds, kept: &[u8]) {
    if kept.is_empty() || bounds.oversize == Oversize::Drop {
        outcome.tally.dropped += 1;
    } else {
        outcome.tally.truncated += 1;
        outcome.payloads.push(kept.to_vec());
    }
}

fn trimmed<'m>(message: &'m [u8], lead: &[u8]) -> &'m [u8] {
    match message.strip_suffix(lead) {
        Some(shorter) if !lead.is_empty() => trimmed(shorter, lead),
        _ => message,
    }
}

/// Split at `end`; FIN counts as one more. Each `lead` before it is part of it, and one of them does not count.
fn read_delimited(bounds: Bounds, input: &[u8], end: u8, lead: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let max = bounds.max_message;
    for message in input.split(|&byte| byte == end) {
        let counted = message.strip_suffix(lead).unwrap_or(message);
        if counted.len() <= max {
            let payload = trimmed(message, lead);
            outcome.payloads.extend((!payload.is_empty()).then(|| payload.to_vec()));
        } else if bounds.oversize == Oversize::Close {
            outcome.error = Some(FramingError::Oversize { len: max + 1, max });
            return outcome;
        } else {
            take_excess(&mut outcome, bounds, trimmed(&message[..max], lead));
        }
    }
    outcome
}

type Length<'i> = Result<Option<(usize, &'i [u8])>, FramingError>;

/// Length of a frame's payload and what follows it; `None` if the count goes on beyond the input.
fn read_count(input: &[u8]) -> Length<'_> {
    let digits = input.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let wrong = match input.get(digits) {
        _ if input.starts_with(b"0") => Some(0),
        _ if digits > OCTET_COUNT_DIGITS => Some(OCTET_COUNT_DIGITS),
        Some(b' ') if digits > 0 => None,
        None => return Ok(None),
        Some(_) => Some(digits),
    };
    if let Some(wrong) = wrong {
        let excerpt = input[..=wrong].escape_ascii().to_string();
        return Err(FramingError::BadCount { excerpt });
    }
    let len = std::str::from_utf8(&input[..digits]).unwrap().parse().unwrap();
    Ok(Some((len, &input[digits + 1..])))
}

fn read_length(input: &[u8]) -> Length<'_> {
    let Some((word, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
    let len = word.iter().fold(0, |len, &byte| len << 8 | u32::from(byte));
    if len as usize > MAX_MESSAGE_MAX {
        return Err(FramingError::BadLength { len });
    }
    Ok(Some((len as usize, rest)))
}

/// Length after length.
fn read_counted(bounds: Bounds, mut input: &[u8], read_one: impl Fn(&[u8]) -> Length<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let max = bounds.max_message;
    while !input.is_empty() {
        let (len, rest) = match read_one(input) {
            Ok(Some(count)) => count,
            Ok(None) => return Outcome { torn: true, ..outcome },
            Err(mistake) => return Outcome { error: Some(mistake), ..outcome },
        };
        if len > max && bounds.oversize == Oversize::Close {
            return Outcome { error: Some(FramingError::Oversize { len, max }), ..outcome };
        }
        if rest.len() < len {
            return Outcome { torn: true, ..outcome };
        }
        match len {
            0 => {}
            len if len <= max => outcome.payloads.push(rest[..len].to_vec()),
            _ => take_excess(&mut outcome, bounds, &rest[..max]),
        }
        input = &rest[len..];
    }
    outcome
}

fn read_datagram(bounds: Bounds, datagram: &[u8], cut: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let (len, max) = (datagram.len(), bounds.max_message);
    if len > max && bounds.oversize == Oversize::Close {
        outcome.error = Some(FramingError::Oversize { len, max });
    } else if cut && bounds.oversize == Oversize::Close {
        outcome.error = Some(FramingError::Cut { received: len });
    } else if len > max || cut {
        take_excess(&mut outcome, bounds, &datagram[..len.min(max)]);
    } else if len > 0 {
        outcome.payloads.push(datagram.to_vec());
    }
    outcome
}
