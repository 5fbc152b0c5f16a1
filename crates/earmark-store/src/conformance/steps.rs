//! Random commands: all that can be asked of a tenant, in a mix that keeps limits, windows,
//! grants and keys busy. The same seed gives the same commands.

use earmark_core::{
    AdjustRequest, AmountRange, CalendarKind, Command, ExtendRequest, GrantId, GrantRequest,
    HoldId, Operation, Override, TenantPatch, TenantStatus, Ttl, Zone,
};

use super::engine::Work;
use super::samples::*;

/// A source of random commands.
pub(super) struct Steps {
    state: u64,
    /// Which of [`Steps::TENANTS`] the next command is on.
    tenant: usize,
    /// Holds and grants asked for so far, by tenant: their ids are the same in each.
    holds: [u128; 3],
    grants: [u128; 3],
}

impl Steps {
    /// The tenants that commands are on.
    pub(super) const TENANTS: [&str; 3] = ["t1", "t2", "t3"];

    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed, tenant: 0, holds: [0; 3], grants: [0; 3] }
    }

    /// SplitMix64: small, and the same everywhere.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to below `bound`.
    fn below(&mut self, bound: i64) -> i64 {
        (self.next() >> 1).cast_signed() % bound
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let index = self.below(i64::try_from(from.len()).unwrap());
        from[usize::try_from(index).unwrap()].clone()
    }

    pub(super) fn one_in(&mut self, times: i64) -> bool {
        self.below(times) == 0
    }

    /// From 1 up to `most`.
    pub(super) fn up_to(&mut self, most: i64) -> i64 {
        1 + self.below(most)
    }

    /// How long to wait before the next batch: mostly little, sometimes past windows and TTLs.
    pub(super) fn wait_ms(&mut self) -> i64 {
        let most = self.pick(&[1, 100, 100, 5_000, 60_000, 400_000, 4_000_000]);
        if self.one_in(60) { 86_400_000 * self.below(20) } else { self.below(most) }
    }

    /// Some commands on some tenants.
    pub(super) fn batch(&mut self) -> Work {
        let mut tenants = vec![0, 1, 2];
        tenants.retain(|_| self.one_in(2));
        if self.one_in(2) {
            tenants.reverse();
        }
        let mut work = Work::new();
        for tenant in tenants {
            self.tenant = tenant;
            let commands = (0..=self.below(4)).map(|_| self.command()).collect();
            work.push((name(Self::TENANTS[tenant]), commands));
        }
        work
    }

    /// One command on the tenant whose turn it is, the first one if there was no batch yet.
    pub(super) fn command(&mut self) -> Command {
        let operation = match self.below(100) {
            0..40 => self.hold(),
            40..55 => self.settle(),
            55..65 => Operation::Release {
                hold: self.some_hold(),
                unsent: self.one_in(3),
                reason: self.one_in(2).then(|| "because".into()),
            },
            65..75 => self.extend(),
            75..82 => Operation::Charge {
                amounts: self.ranges(),
                dimensions: self.dimensions(),
                metadata: None,
            },
            82..85 => self.grant(),
            85..88 => self.adjust(),
            _ => self.other(),
        };
        let key = self.one_in(3).then(|| {
            let key = format!("k{}", self.below(30));
            key_use(&key, u8::from(self.one_in(6)))
        });
        let takes_key = !matches!(
            operation,
            Operation::Check { .. }
                | Operation::Look { .. }
                | Operation::Usage { .. }
                | Operation::PutTenant { .. }
                | Operation::PatchTenant { .. }
                | Operation::Sweep
        );
        Command { operation, key: key.filter(|_| takes_key), may_create: true }
    }

    /// One of the latest holds.
    fn some_hold(&mut self) -> HoldId {
        let back = u128::from(self.next() % 12);
        HoldId(self.holds[self.tenant].saturating_sub(back))
    }

    fn dimensions(&mut self) -> earmark_core::Dimensions {
        let user = self.pick(&["", "a", "b", "c", "o'hara, =%"]);
        let model = self.pick(&["gpt-4o-mini", "o3", "claude"]);
        if self.one_in(6) {
            return dimensions(&[]);
        }
        dimensions(&[("user", user), ("model", model)])
    }

    fn ranges(&mut self) -> Vec<(earmark_core::MeterName, AmountRange)> {
        let mut ranges = Vec::new();
        for (meter, most) in [("messages", 4), ("tokens", 300), ("attempts", 2), ("cost", 9)] {
            if self.one_in(2) || (meter == "messages" && ranges.is_empty() && self.one_in(2)) {
                let min = self.below(most);
                let max = min + if self.one_in(3) { self.below(most * 3) } else { 0 };
                let range = AmountRange::new(amount(min), amount(max)).unwrap();
                ranges.push((name(meter), range));
            }
        }
        if ranges.is_empty() {
            ranges.push((name("messages"), AmountRange::exactly(amount(1))));
        }
        ranges
    }

    fn ttl(&mut self) -> Ttl {
        Ttl::from_ms(self.pick(&[1_000, 60_000, 300_000, 86_400_000])).unwrap()
    }

    fn hold(&mut self) -> Operation {
        self.holds[self.tenant] += 1;
        Operation::Hold(earmark_core::HoldRequest {
            id: HoldId(self.holds[self.tenant]),
            id_is_fresh: self.one_in(2),
            amounts: self.ranges(),
            meters: earmark_core::MetersAsked::All,
            dimensions: self.dimensions(),
            ttl: self.ttl(),
            dispatched: self.one_in(3),
            metadata: self.one_in(4).then(|| r#"{"n":1}"#.into()),
        })
    }

    fn settle(&mut self) -> Operation {
        let mut amounts = Vec::new();
        for (meter, most) in [("messages", 5), ("tokens", 400)] {
            if self.one_in(3) {
                amounts.push((name(meter), amount(self.below(most))));
            }
        }
        Operation::Settle { hold: self.some_hold(), amounts, metadata: None }
    }

    fn extend(&mut self) -> Operation {
        let amounts = if self.one_in(2) { self.ranges() } else { Vec::new() };
        let (hold, ttl) = (self.some_hold(), self.ttl());
        Operation::Extend(ExtendRequest { hold, ttl, amounts, dispatched: self.one_in(3) })
    }

    fn grant(&mut self) -> Operation {
        self.grants[self.tenant] += 1;
        let in_a_while = start().plus(self.below(40) * 3_600_000);
        Operation::Grant(GrantRequest {
            id: GrantId(self.grants[self.tenant]),
            meter: name(self.pick(&["messages", "messages", "tokens", "cost"])),
            amount: amount(self.below(60)),
            priority: i32::try_from(self.below(3)).unwrap() - 1,
            expires: self.one_in(2).then_some(in_a_while),
            reason: None,
            author: Some("me".into()),
        })
    }

    fn adjust(&mut self) -> Operation {
        Operation::Adjust(AdjustRequest {
            limit: name(self.pick(&["messages/month", "cost/week", "messages/minute/user"])),
            dimensions: self.dimensions(),
            delta: self.below(60) - 40,
            reason: Some("oops".into()),
            author: None,
        })
    }

    /// What administrators do, and what changes nothing.
    fn other(&mut self) -> Operation {
        match self.below(12) {
            0 => Operation::Restart { windows: CalendarKind::ALL.to_vec(), author: None },
            1 => put_tenant("pro"),
            2..6 => Operation::PatchTenant { patch: self.patch(), author: Some("me".into()) },
            6..8 => Operation::Usage { dimensions: self.dimensions() },
            8 => Operation::Look { hold: self.some_hold() },
            9 => Operation::Check { amounts: self.ranges(), dimensions: self.dimensions() },
            _ => Operation::Sweep,
        }
    }

    fn patch(&mut self) -> TenantPatch {
        let mut patch = TenantPatch::default();
        match self.below(5) {
            0 => patch.plan = Some(name(self.pick(&["free", "pro", "pro", "pro", "open"]))),
            1 => {
                let active = !self.one_in(4);
                let status = if active { TenantStatus::Active } else { TenantStatus::Suspended };
                patch.status = Some(status);
            }
            2 => {
                let zone = self.pick(&["UTC", "Asia/Kathmandu", "America/St_Johns"]);
                patch.zone = Some(Zone::new(zone).unwrap());
                let anchor = jiff::civil::date(2024, 1, 31);
                patch.anchor = Some(self.one_in(2).then_some(anchor));
            }
            3 => {
                let more = Override {
                    limit: name("messages/month"),
                    amount: (!self.one_in(3)).then(|| amount(self.below(80))),
                    until: self.one_in(2).then(|| start().plus(self.below(90_000_000))),
                };
                patch.overrides = Some(if self.one_in(3) { Vec::new() } else { vec![more] });
            }
            _ => patch.metadata = Some(self.one_in(2).then(|| r#"{"vip":true}"#.into())),
        }
        // Suspended tenants come back, so that most commands meet an active one.
        if patch.status.is_none() && self.one_in(2) {
            patch.status = Some(TenantStatus::Active);
        }
        patch
    }
}
