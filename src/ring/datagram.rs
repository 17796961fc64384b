//! Datagrams in receive buffers: the kernel writes a header, the sender's name and its control messages before the payload.
//!
//! Lives here: that layout, read without trust. Never here: what becomes of a datagram. Sources: io_uring_prep_recvmsg_multishot(3),
//! cmsg(3), socket(7) under SO_RXQ_OVFL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use io_uring::types::RecvMsgOut;

use super::Lease;
use crate::kernel::Datagram;

/// Room for the sender's name: an IPv6 address is the longest that is looked at.
const NAME: usize = size_of::<libc::sockaddr_in6>();
/// Room for one control message with a `u32` in it, aligned.
const CONTROL: usize = HEADER + size_of::<u64>();
const HEADER: usize = size_of::<libc::cmsghdr>();
/// What stands before the payload: the ring's own header of four `u32`, name and control.
pub(super) const PREFIX: usize = 4 * size_of::<u32>() + NAME + CONTROL;

/// What a multishot receive of datagrams asks for. The kernel copies it when the operation is submitted; it is boxed by its
/// operation all the same.
pub(super) fn ask() -> libc::msghdr {
    // SAFETY: msghdr(2) is a C structure of integers and pointers; all zeroes is its empty value.
    let mut ask: libc::msghdr = unsafe { std::mem::zeroed() };
    ask.msg_namelen = NAME as libc::socklen_t;
    ask.msg_controllen = CONTROL;
    ask
}

/// The datagram in a buffer that was received into; `None` if the kernel wrote something else than it promises.
pub(super) fn read(lease: Lease, ask: &libc::msghdr) -> Option<Datagram<Lease>> {
    let buffer = lease.as_ref();
    let out = RecvMsgOut::parse(buffer, ask).ok()?;
    let payload = out.payload_data();
    let (from, dropped, cut) =
        (address(out.name_data()), dropped(out.control_data()), out.is_payload_truncated());
    let start = PREFIX;
    let range = start..start + payload.len();
    Some(Datagram { lease, payload: range, cut, from, dropped })
}

/// The address in a `sockaddr`, in either family.
fn address(name: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(*name.get(4..8)?.first_chunk::<4>()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(*name.get(8..24)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// What `SO_RXQ_OVFL` says in the first control message, the only one that is asked for.
fn dropped(control: &[u8]) -> Option<u32> {
    let level = i32::from_ne_bytes(*control.get(size_of::<usize>()..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*control.get(size_of::<usize>() + size_of::<i32>()..)?.first_chunk()?);
    let value = control.get(HEADER..)?.first_chunk()?;
    ((level, kind) == (libc::SOL_SOCKET, libc::SO_RXQ_OVFL)).then(|| u32::from_ne_bytes(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read_and_others_passed_over() {
        let mut four = libc::AF_INET.to_ne_bytes()[..2].to_vec();
        four.extend_from_slice(&[0x14, 0x14, 127, 0, 0, 1, 0, 0]);
        assert_eq!(address(&four), Some(IpAddr::from([127, 0, 0, 1])));
        let mut six = libc::AF_INET6.to_ne_bytes()[..2].to_vec();
        six.extend_from_slice(&[0; 6]);
        six.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        assert_eq!(address(&six), Some(IpAddr::from(Ipv6Addr::LOCALHOST)));
        assert_eq!(address(&libc::AF_UNIX.to_ne_bytes()[..2]), None);
        assert_eq!((address(&[]), address(&four[..6])), (None, None));
    }

    #[test]
    fn what_was_dropped_is_read_from_its_control_message_only() {
        let message = |level: i32, kind: i32| {
            [&20_usize.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), &7_u32.to_ne_bytes()]
                .concat()
        };
        assert_eq!(dropped(&message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL)), Some(7));
        assert_eq!(dropped(&message(libc::SOL_SOCKET, libc::SO_TIMESTAMP)), None);
        assert_eq!((dropped(&[]), dropped(&[0; 18])), (None, None));
    }
}
