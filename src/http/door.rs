//! Everything that is counted at the door: who may try how often to be let in.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use super::attempts::{Attempts, CELLS, FEWER_CELLS};
use super::problem::Problem;
use super::rate_limit::Allowance;

/// Log-ins a minute: to an account from an address, and that fail from an address; and how often somebody who has a user's token may give
/// that user's password.
const LOG_INS: usize = 5;

/// Log-ins a minute to an account, wherever they come from. So many that nobody is locked out by a few who guess elsewhere.
const FROM_EVERYWHERE: usize = 100;

/// New accounts a minute, from an address. Behind the address of a mobile operator are many people.
const REGISTRATIONS: usize = 30;

/// A /48 of IPv6 may so many times what a /64 may.
const SITE: usize = 4;

/// The counts of the door.
pub struct Door {
    /// Log-ins to an account from an address.
    pub log_ins: PerAddress,
    /// Log-ins to an account from anywhere.
    pub accounts: Attempts,
    /// Failed log-ins from an address: those that succeed are given back, since many people share one.
    pub failures: PerAddress,
    /// New accounts, by address.
    pub registrations: PerAddress,
    /// Attempts to give a user's own password, by user: nobody without a token of his can use them up.
    pub own_passwords: Attempts,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            log_ins: PerAddress::new(LOG_INS),
            accounts: Attempts::new(FROM_EVERYWHERE, FEWER_CELLS),
            failures: PerAddress::new(LOG_INS),
            registrations: PerAddress::new(REGISTRATIONS),
            own_passwords: Attempts::new(LOG_INS, CELLS),
        }
    }
}

impl Door {
    /// Counts one more log-in to an account. Where one of its limits is reached, the others are as if it had never come: who is refused
    /// anyhow uses up nothing of anybody's.
    ///
    /// # Errors
    /// 429 when there were too many, from this address or from everywhere.
    pub fn to_account(&self, account: &impl Hash, address: IpAddr, now: Instant) -> Result<Allowance, Problem> {
        let refused = |allowance: Allowance| allowance.refused("Too many attempts to log in to this account.");
        let from_here = self.log_ins.take(account, address, now);
        if let Some(problem) = refused(from_here) {
            return Err(problem);
        }
        if let Some(problem) = refused(self.accounts.take(account, now)) {
            self.log_ins.give_back(account, address, now);
            return Err(problem);
        }
        Ok(from_here)
    }
}

/// Attempts counted by address. Of IPv6, everybody has a /64 to himself, and many have a /48: both are counted, and in tables of their own,
/// since who has billions of addresses could fill them, and would then stand in the way of those who have one.
pub struct PerAddress {
    v4: Attempts,
    v6: Attempts,
    v6_sites: Attempts,
}

impl PerAddress {
    /// At most so many in any minute from an address.
    pub fn new(limit: usize) -> Self {
        Self {
            v4: Attempts::new(limit, CELLS),
            v6: Attempts::new(limit, CELLS),
            v6_sites: Attempts::new(limit * SITE, FEWER_CELLS),
        }
    }

    /// Counts one more attempt of this address at this, unless there were too many.
    pub fn take(&self, what: &impl Hash, address: IpAddr, now: Instant) -> Allowance {
        let IpAddr::V6(v6) = address else { return self.v4.take(&(what, address), now) };
        let own = self.v6.take(&(what, network(v6, 64)), now);
        if own.wait.is_some() {
            return own;
        }
        let site = self.v6_sites.take(&(what, network(v6, 48)), now);
        if site.wait.is_some() {
            self.v6.give_back(&(what, network(v6, 64)), now);
        }
        if site.wait.is_some() || site.remaining < own.remaining { site } else { own }
    }

    /// That the attempt counted at that time does not count.
    pub fn give_back(&self, what: &impl Hash, address: IpAddr, taken: Instant) {
        match address {
            IpAddr::V4(_) => self.v4.give_back(&(what, address), taken),
            IpAddr::V6(v6) => {
                self.v6.give_back(&(what, network(v6, 64)), taken);
                self.v6_sites.give_back(&(what, network(v6, 48)), taken);
            }
        }
    }
}

/// Who may be one and the same: the address; of IPv6, its /48.
pub fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6(network(v6, 48)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The first bits, fewer than all.
fn network(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn who_has_ipv6_is_counted_by_his_network_and_by_the_one_around_it() {
        let (counts, now) = (PerAddress::new(5), clock::monotonic());
        let refused = |text: &str| counts.take(&(), ip(text), now).wait.is_some();
        for host in 0..5 {
            assert!(!refused(&format!("2001:db8:1:2:3::{host}")));
        }
        assert!(refused("2001:db8:1:2:ffff::1"), "the same /64");
        for net in 0..15 {
            assert!(!refused(&format!("2001:db8:1:a{net:x}::1")), "{net}");
        }
        assert!(refused("2001:db8:1:ffff::1"), "the /48 had its twenty");
        assert!(!refused("2001:db8:2:2::1"), "another");
        counts.give_back(&(), ip("2001:db8:1:a1::1"), now);
        assert!(!refused("2001:db8:1:ffff::1"), "what was refused was not counted, what is given back does not count");
    }

    #[test]
    fn who_is_refused_by_one_limit_uses_up_nothing_of_another() {
        let (door, now) = (Door::default(), clock::monotonic());
        let comes = |host: usize| {
            let address = IpAddr::from([203, 0, 113, u8::try_from(host).expect("a byte")]);
            door.to_account(&"maria", address, now).is_ok()
        };
        // As many as he likes from one address: five count, for the account's limit from everywhere, too.
        let from_one = (0..1_000).filter(|_| comes(0)).count();
        let from_others = (1..250).flat_map(|host| [host; LOG_INS]).filter(|host| comes(*host)).count();
        assert_eq!((from_one, from_one + from_others), (LOG_INS, FROM_EVERYWHERE));
        // Those whom the account's limit refused have their five of their address still.
        let address = IpAddr::from([203, 0, 113, 249]);
        assert_eq!(door.log_ins.take(&"maria", address, now).remaining as usize, LOG_INS - 1);
    }

    #[test]
    fn no_flood_from_ipv6_stands_in_the_way_of_ipv4() {
        let (counts, now) = (PerAddress::new(1), clock::monotonic());
        for site in 0..4 * CELLS as u128 {
            counts.take(&(), IpAddr::V6(Ipv6Addr::from_bits((0x2001 << 112) | (site << 80))), now);
        }
        let refused =
            (0..250_u8).filter(|host| counts.take(&(), IpAddr::from([203, 0, 113, *host]), now).wait.is_some());
        assert!(refused.count() < 10, "but for cells that two share");
    }
}
