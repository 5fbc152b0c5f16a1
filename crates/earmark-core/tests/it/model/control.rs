//! Tenants, grants, adjustments, restarts, clock repair (R7, R8, R10, R24, R26 to R28).

use earmark_core::{
    AdjustRequest, CalendarKind, CommandError, GrantRequest, Override, PlanName, TenantCalendar,
    TenantFields, TenantPatch, TenantStatus, TimestampMs, Window, WindowLabel,
};

use super::calendar::Days;
use super::{GrantState, Model, TenantState, Use};

impl Model {
    /// A tenant that comes to be; all its windows open now (R10).
    pub(super) fn create(&mut self, fields: &TenantFields, now_ms: i64) {
        let days = Days::of(&fields.calendar);
        self.tenant = Some(TenantState {
            plan: fields.plan.clone(),
            suspended: fields.status == TenantStatus::Suspended,
            calendar: fields.calendar.clone(),
            overrides: fields.overrides.clone(),
            seq: 0,
            last_ms: now_ms,
            windows: CalendarKind::ALL.map(|kind| days.containing(kind, now_ms)),
        });
        self.commit(now_ms);
    }

    fn check_fields(&self, plan: &PlanName, overrides: &[Override]) -> Result<(), CommandError> {
        let Some(rules) = self.book.plans.get(plan) else {
            return Err(CommandError::UnknownPlan(plan.clone()));
        };
        let stays = self.tenant.as_ref().is_some_and(|tenant| tenant.plan == *plan);
        if rules.retired && !stays {
            return Err(CommandError::PlanRetired(plan.clone()));
        }
        let twice = |o: &Override| overrides.iter().filter(|other| other.limit == o.limit).count();
        if overrides.iter().any(|o| twice(o) > 1) {
            return Err(CommandError::Overrides);
        }
        Ok(())
    }

    /// Says whether the tenant was created.
    pub(super) fn put(&mut self, fields: &TenantFields, now_ms: i64) -> Result<bool, CommandError> {
        self.check_fields(&fields.plan, &fields.overrides)?;
        if self.tenant.is_none() {
            self.create(fields, now_ms);
            return Ok(true);
        }
        self.set(fields, now_ms);
        Ok(false)
    }

    fn set(&mut self, fields: &TenantFields, now_ms: i64) {
        let mut windows = self.windows_at(now_ms);
        let tenant = self.tenant.as_mut().unwrap();
        let suspended = fields.status == TenantStatus::Suspended;
        let changes = tenant.plan != fields.plan
            || tenant.suspended != suspended
            || tenant.calendar != fields.calendar
            || tenant.overrides != fields.overrides;
        if tenant.calendar != fields.calendar {
            let days = Days::of(&fields.calendar);
            for (window, kind) in windows.iter_mut().zip(CalendarKind::ALL) {
                *window = days.placed_anew(kind, *window);
            }
        }
        if changes {
            tenant.plan = fields.plan.clone();
            tenant.suspended = suspended;
            tenant.calendar = fields.calendar.clone();
            tenant.overrides = fields.overrides.clone();
            tenant.windows = windows;
            self.commit(now_ms);
        }
    }

    pub(super) fn patch(&mut self, patch: &TenantPatch, now_ms: i64) -> Result<(), CommandError> {
        let tenant = self.of_tenant();
        let status = if tenant.suspended { TenantStatus::Suspended } else { TenantStatus::Active };
        let zone = patch.zone.clone().unwrap_or_else(|| tenant.calendar.zone.clone());
        let anchor = patch.anchor.unwrap_or(tenant.calendar.anchor);
        let fields = TenantFields {
            plan: patch.plan.clone().unwrap_or_else(|| tenant.plan.clone()),
            status: patch.status.unwrap_or(status),
            calendar: TenantCalendar { zone, anchor },
            overrides: patch.overrides.clone().unwrap_or_else(|| tenant.overrides.clone()),
            metadata: None,
        };
        self.check_fields(&fields.plan, &fields.overrides)?;
        self.set(&fields, now_ms);
        Ok(())
    }

    pub(super) fn grant(
        &mut self,
        request: &GrantRequest,
        now_ms: i64,
    ) -> Result<(), CommandError> {
        if !self.book.meters.contains_key(&request.meter) {
            return Err(CommandError::UnknownMeter(request.meter.clone()));
        }
        let expires_ms = request.expires.map(|expires| expires.0);
        if request.amount.get() == 0 || expires_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return Err(CommandError::UselessGrant);
        }
        let grant = GrantState {
            id: request.id,
            meter: request.meter.clone(),
            amount: request.amount.get(),
            priority: request.priority,
            expires_ms,
            created_ms: now_ms,
            expiry_entered: false,
        };
        self.grants.insert(request.id, grant);
        self.commit(now_ms);
        Ok(())
    }

    /// Returns by how much used really changed (R26).
    pub(super) fn adjust(
        &mut self,
        request: &AdjustRequest,
        now_ms: i64,
    ) -> Result<i64, CommandError> {
        let named = self.limits().iter().find(|limit| limit.name.as_ref() == Some(&request.limit));
        let Some(limit) = named.cloned() else {
            return Err(CommandError::UnknownLimit(request.limit.clone()));
        };
        if matches!(limit.window, Window::Rolling(_) | Window::InFlight) {
            return Err(CommandError::NotAdjustable(request.limit.clone()));
        }
        let counter = self.counter(&limit, &request.dimensions, now_ms);
        let delta = request.delta.max(-self.used(&counter, now_ms));
        if self.overflows(&counter, delta, now_ms) {
            return Err(CommandError::AmountOverflow(limit.meter));
        }
        self.uses.push(Use { counter, span_min: None, held_ms: now_ms, delta });
        self.commit(now_ms);
        Ok(delta)
    }

    pub(super) fn restart(
        &mut self,
        kinds: &[CalendarKind],
        now_ms: i64,
    ) -> Vec<(CalendarKind, WindowLabel)> {
        let days = Days::of(&self.of_tenant().calendar);
        let mut windows = self.windows_at(now_ms);
        let mut fresh = Vec::new();
        for (window, kind) in windows.iter_mut().zip(CalendarKind::ALL) {
            if kinds.contains(&kind) {
                *window = days.restarted(kind, *window, now_ms);
                fresh.push((kind, window.label()));
            }
        }
        self.tenant.as_mut().unwrap().windows = windows;
        self.commit(now_ms);
        fresh
    }

    /// Sets the tenant's time back to the store's (R8).
    pub(super) fn repair_clock(&mut self, now: TimestampMs) {
        let days = Days::of(&self.of_tenant().calendar);
        let tenant = self.tenant.as_mut().unwrap();
        for (window, kind) in tenant.windows.iter_mut().zip(CalendarKind::ALL) {
            *window = days.repaired(kind, *window, now.0);
        }
        tenant.last_ms = now.0;
        self.pull_back_to(now);
        self.commit(now.0);
    }
}
