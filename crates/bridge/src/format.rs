//! Formats that both sides of a call speak, and the numbers each side gives them.

use voex_sdp as sdp;
use voex_sfu::command::Payload;

use crate::media::codec;

/// One format in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Format {
    /// Name, clock and parameters, as the remote of the plain leg gave them.
    pub(crate) payload: sdp::Payload,
    pub(crate) webrtc: Numbers,
    pub(crate) plain: Numbers,
}

/// Payload type numbers of a format on one leg. An answer should repeat the numbers of the offer (RFC 3264 §6.1), but
/// need not; then each side is sent the numbers that it wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Numbers {
    /// In our description: what the remote is to send.
    pub(crate) ours: u8,
    /// In the remote's description: what we are to send. Some remotes send it as well.
    pub(crate) theirs: u8,
}

/// Tells whether a format can be carried from one leg to the other: it has a name, and does not wrap or repair another.
pub(crate) fn is_portable(payload: &sdp::Payload) -> bool {
    const WRAPPERS: [&str; 5] = ["red", "rtx", "ulpfec", "flexfec", "flexfec-03"];
    !payload.name.is_empty() && !WRAPPERS.iter().any(|name| payload.is(name))
}

/// Tells whether a format carries sound; telephone events and comfort noise alone make no call.
pub(crate) fn is_sound(payload: &sdp::Payload) -> bool {
    !payload.is("telephone-event") && !payload.is("CN")
}

/// Gives the portable payload types without the feedback messages, which belong to WebRTC alone.
pub(crate) fn portable(list: &[sdp::Payload]) -> Vec<sdp::Payload> {
    let portable = list.iter().filter(|payload| is_portable(payload));
    portable
        .map(|payload| sdp::Payload {
            rtcp_fb: Vec::new(),
            ..payload.clone()
        })
        .collect()
}

/// Pairs each answered payload type with the offered one of the same format, in the order of the answer. A dynamic
/// type without `rtpmap` in the answer is taken by its number.
pub(crate) fn matched<'a>(
    offered: &'a [sdp::Payload],
    answered: &'a [sdp::Payload],
) -> Vec<(&'a sdp::Payload, &'a sdp::Payload)> {
    let same = |answer: &sdp::Payload, offer: &sdp::Payload| match answer.name.as_str() {
        "" => answer.payload_type == offer.payload_type,
        _ => answer.same_format(offer),
    };
    answered
        .iter()
        .filter_map(|answer| {
            // Several variants of one codec share the format (opus with other parameters): the same number decides.
            let exact = offered
                .iter()
                .find(|o| o.payload_type == answer.payload_type && same(answer, o));
            let offer = exact.or_else(|| offered.iter().find(|offer| same(answer, offer)))?;
            is_portable(offer).then_some((offer, answer))
        })
        .collect()
}

/// Gives the payload types that may arrive on a leg.
pub(crate) fn arriving(formats: &[Format], leg: impl Fn(&Format) -> Numbers) -> Vec<Payload> {
    numbers(formats, leg)
        .into_iter()
        .map(|(number, format)| Payload {
            payload_type: number,
            codec: codec(&format.payload),
            clock_rate: format.payload.clock_rate,
            rtx: None,
        })
        .collect()
}

/// Gives what a subscription wants: arriving and leaving number of each payload type.
pub(crate) fn relayed(
    formats: &[Format],
    from: impl Fn(&Format) -> Numbers,
    to: impl Fn(&Format) -> Numbers,
) -> Vec<(u8, u8, Option<u8>)> {
    numbers(formats, from)
        .into_iter()
        .map(|(number, format)| (number, to(format).theirs, None))
        .collect()
}

/// Tells whether what was set up for some formats does for others: they are a part of them under the same numbers.
pub(crate) fn covers(set_up: &[Format], wanted: &[Format]) -> bool {
    let same = |a: &Format, b: &Format| {
        a.payload.same_format(&b.payload)
            && a.webrtc.theirs == b.webrtc.theirs
            && a.plain.theirs == b.plain.theirs
            && [a.plain.ours, a.plain.theirs].contains(&b.plain.ours)
    };
    wanted
        .iter()
        .all(|wanted| set_up.iter().any(|known| same(known, wanted)))
}

/// Gives every number that may arrive on a leg, once: first ours, then those of theirs that mean nothing else.
fn numbers(formats: &[Format], leg: impl Fn(&Format) -> Numbers) -> Vec<(u8, &Format)> {
    let mut list: Vec<(u8, &Format)> = Vec::new();
    let ours = formats.iter().map(|format| (leg(format).ours, format));
    let theirs = formats.iter().map(|format| (leg(format).theirs, format));
    for (number, format) in ours.chain(theirs) {
        if !list.iter().any(|(known, _)| *known == number) {
            list.push((number, format));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(name: &str, webrtc: (u8, u8), plain: (u8, u8)) -> Format {
        let numbers = |(ours, theirs)| Numbers { ours, theirs };
        Format {
            payload: sdp::Payload::new(plain.1, name, 8_000, 1),
            webrtc: numbers(webrtc),
            plain: numbers(plain),
        }
    }

    #[test]
    fn formats_are_matched_by_name_and_clock_not_by_number() {
        let offered = [
            sdp::Payload::new(111, "opus", 48_000, 2),
            sdp::Payload::new(110, "telephone-event", 48_000, 1),
            sdp::Payload::new(126, "telephone-event", 8_000, 1),
            sdp::Payload::new(8, "PCMA", 8_000, 1),
        ];
        let answered = [
            sdp::Payload::new(8, "pcma", 8_000, 1),
            sdp::Payload::new(101, "telephone-event", 8_000, 1),
            sdp::Payload::new(18, "G729", 8_000, 1),
        ];
        let pairs: Vec<_> = matched(&offered, &answered)
            .iter()
            .map(|(o, a)| (o.payload_type, a.payload_type))
            .collect();
        assert_eq!(pairs, [(8, 8), (126, 101)]);
    }

    #[test]
    fn redundancy_is_not_carried_over() {
        let offered = [
            sdp::Payload::new(63, "red", 48_000, 2),
            sdp::Payload::new(0, "PCMU", 8_000, 1),
        ];
        let numbers: Vec<_> = portable(&offered).iter().map(|p| p.payload_type).collect();
        assert_eq!(numbers, [0]);
    }

    #[test]
    fn a_renumbered_type_may_arrive_under_both_numbers_and_leaves_under_the_writers() {
        let formats = [
            format("PCMA", (8, 8), (8, 8)),
            format("telephone-event", (126, 126), (126, 101)),
        ];
        assert_eq!(
            relayed(&formats, |f| f.plain, |f| f.webrtc),
            [(8, 8, None), (126, 126, None), (101, 126, None)]
        );
        assert_eq!(
            relayed(&formats, |f| f.webrtc, |f| f.plain),
            [(8, 8, None), (126, 101, None)]
        );
    }

    #[test]
    fn a_number_that_we_gave_out_is_not_taken_for_the_remotes_other_use_of_it() {
        let formats = [format("A", (96, 96), (96, 97)), format("B", (97, 97), (97, 96))];
        assert_eq!(
            relayed(&formats, |f| f.plain, |f| f.webrtc),
            [(96, 96, None), (97, 97, None)]
        );
    }
}
