use std::net::IpAddr;
use std::time::Instant;

/// Most permissions of one allocation; a request for more is refused with 508.
pub(crate) const PERMISSIONS_MAX: usize = 256;

/// The permissions of one allocation (RFC 8656 §9): peer addresses, without port, and until when.
///
/// Sorted by address: allocations have a handful, and the bound keeps a search at eight comparisons.
#[derive(Default, Debug)]
pub(crate) struct Permissions {
    by_ip: Vec<(IpAddr, Instant)>,
}

/// The table is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

impl Permissions {
    #[inline]
    pub(crate) fn permits(&self, ip: IpAddr, now: Instant) -> bool {
        self.position(ip).is_ok_and(|at| now < self.by_ip[at].1)
    }

    /// Counts those that [`install`](Self::install) would have to make room for.
    pub(crate) fn count_new(&self, ips: impl Iterator<Item = IpAddr>) -> usize {
        ips.filter(|ip| self.position(*ip).is_err()).count()
    }

    /// Tells whether there is room for so many more.
    pub(crate) fn has_room_for(&self, added: usize) -> bool {
        self.by_ip.len() + added <= PERMISSIONS_MAX
    }

    /// Installs a permission, or puts off its end.
    pub(crate) fn install(&mut self, ip: IpAddr, expires: Instant) -> Result<(), Full> {
        match self.position(ip) {
            Ok(at) => self.by_ip[at].1 = expires,
            Err(_) if self.by_ip.len() >= PERMISSIONS_MAX => return Err(Full),
            Err(at) => self.by_ip.insert(at, (ip, expires)),
        }
        Ok(())
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.by_ip.retain(|(_, expires)| now < *expires);
    }

    /// Takes back the permissions of addresses that are no longer open.
    pub(crate) fn retain(&mut self, is_open: impl Fn(IpAddr) -> bool) {
        self.by_ip.retain(|(ip, _)| is_open(*ip));
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.by_ip.iter().map(|(_, expires)| *expires).min()
    }

    #[inline]
    fn position(&self, ip: IpAddr) -> Result<usize, usize> {
        self.by_ip.binary_search_by(|(known, _)| known.cmp(&ip))
    }
}
