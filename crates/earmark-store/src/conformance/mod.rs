//! The suite that every store passes: one list of cases, whose names are sentences.
//!
//! A store's test file says how a fresh store is made and how one is opened again, and one
//! line more:
//!
//! ```ignore
//! struct Sqlite { /* directory, store, clock */ }
//! impl earmark_store::conformance::Harness for Sqlite { /* … */ }
//! earmark_store::conformance_tests!(Sqlite);
//! ```
//!
//! Each case becomes a `#[tokio::test]` of its own (the store's tests need `tokio` with its
//! macros). Cases see a store only through [`Store`], [`Txn`](crate::Txn) and
//! [`Records`](crate::Records); rows are made by commands, or by effects where a case needs a
//! row that commands reach only on long ways.
//!
//! Deliberately absent: the rules themselves, which have their tests in the core, and faults,
//! which only a store's own tests can cause.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code that cannot be under cfg(test): other crates' tests use it"
)]

pub mod agreement;
mod both;
pub mod commits;
pub mod config;
pub mod due;
pub mod engine;
pub mod erasing;
pub mod extremes;
pub mod loading;
pub mod outbox;
pub mod pages;
pub mod pruning;
pub mod rows;
pub mod samples;
mod steps;

use std::future::Future;
use std::sync::Arc;

use earmark_core::bounds::DUE_HOLDS_PER_ROUND;

use crate::clock::ManualClock;
use crate::seam::Store;

/// How the suite makes a store and opens it again.
pub trait Harness: Sized {
    /// The store under test.
    type Store: Store;

    /// Whether [`Store::was_committed`] knows its batches; a store whose commits never end
    /// unknown needs no such memory.
    const REMEMBERS_BATCHES: bool = true;

    /// How many due holds the store loads in one round.
    const DUE_PAGE: usize = DUE_HOLDS_PER_ROUND;

    /// An empty store that keeps time by [`Harness::clock`].
    fn fresh() -> impl Future<Output = Self>;

    /// One more handle of the store. A case gives all of them back before `reopen`.
    fn store(&self) -> Arc<Self::Store>;

    /// Drops every handle and opens the store again from what is durable.
    fn reopen(&mut self) -> impl Future<Output = ()>;

    /// The clock of the store, whatever number of times it has been opened.
    fn clock(&self) -> &ManualClock;
}

/// Expands to one test for each case of the suite.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:ty) => {
        $crate::conformance_tests! { @cases $harness;
            rows {
                a_tenant_survives_with_every_field
                a_change_of_order_alone_keeps_the_other_fields_of_a_tenant
                counters_survive_in_every_kind_of_window
                rolling_counters_survive_with_their_slices
                alerts_raised_and_refusals_survive_with_their_counter
                a_forgotten_counter_is_gone
                a_new_hold_survives_in_each_state
                a_stored_hold_survives_each_change_of_state
                grants_survive_with_every_field
                keys_survive_with_every_kind_of_answer
                a_key_answers_with_what_was_written_last
                entries_survive_with_every_field
                combinations_in_use_are_added_up
            }
            extremes {
                metadata_survives_to_the_last_byte
                texts_survive_whatever_they_say
                counters_of_values_that_look_alike_are_told_apart
                numbers_survive_at_both_ends
                ids_survive_at_both_ends
                the_longest_names_survive
            }
            loading {
                what_is_not_named_stays_not_loaded
                rows_that_are_not_there_are_offered_as_absent
                of_an_unknown_tenant_everything_is_absent
                accounts_come_in_the_order_of_the_need
                a_hold_brings_the_counters_and_grants_of_its_legs
                a_key_brings_its_hold
                an_id_that_a_hold_has_makes_no_second_one
                live_grants_come_with_the_tenant_and_dead_ones_by_id
                idle_rolling_counters_come_when_asked_for
                idle_values_make_room_for_new_ones
                all_counters_and_all_open_holds_are_all
                loading_again_keeps_what_the_batch_has_changed
                what_a_store_keeps_equals_a_fresh_load
                an_account_after_its_commit_equals_a_fresh_load
            }
            due {
                due_holds_come_in_order_and_in_rounds
                many_holds_with_one_expiry_all_come
                what_is_not_due_is_not_offered
                due_holds_bring_the_rows_of_their_legs
                extended_and_ended_holds_are_due_no_longer
                a_clock_a_little_behind_still_finds_what_is_due
                everything_due_expires_before_anybody_is_denied
                due_tenants_are_those_with_due_holds_or_grants
                due_tenants_come_in_pages_in_order_of_their_ids
            }
            commits {
                nothing_of_a_dropped_transaction_is_visible
                a_batch_over_many_tenants_survives_whole
                a_commit_without_changes_is_fine
                a_refusal_alone_survives
                the_clock_is_read_once_for_each_transaction
                two_transactions_on_one_tenant_exclude_each_other
                fifty_calls_at_49_of_50_admit_exactly_one
                calls_of_many_tenants_at_once_all_count
                a_tenant_is_created_once
                committed_batches_are_known_and_others_are_not
            }
            config {
                a_fresh_store_has_an_empty_configuration
                a_configuration_survives_as_it_was_written
                only_the_expected_version_is_replaced
                of_many_writers_at_once_one_wins
                what_a_change_does_not_name_stays
                a_plan_gets_a_version_only_when_its_document_changes
                plans_are_retired_and_taken_back
                what_a_limit_name_meant_is_kept_for_good
                transactions_see_the_new_configuration
            }
            pages {
                tenants_come_in_order_of_their_bytes
                tenants_are_found_by_prefix_and_plan
                tenants_come_in_pages
                holds_come_newest_first_and_by_state
                holds_come_in_pages
                entries_come_newest_first_and_in_pages
                entries_are_found_by_user
                of_an_unknown_tenant_there_is_nothing_to_list
                books_have_everything_of_one_tenant
                api_keys_are_added_listed_and_revoked_once
                a_store_answers_a_ping
                the_newest_change_is_the_last_that_has_an_entry
            }
            pruning {
                whatever_was_pruned_the_books_explain_every_number
                openings_come_behind_the_oldest_entry_and_in_pages
                a_ledger_that_is_folded_as_a_whole_goes_on
                counters_go_when_no_entry_can_name_them_any_more
                ended_holds_and_old_keys_go_and_open_holds_stay
                usage_by_hour_is_what_the_entries_say_also_when_they_are_gone
            }
            erasing {
                only_a_tombstone_is_left_and_the_others_keep_everything
                an_erasure_that_was_cut_off_anywhere_goes_on
                one_of_the_same_name_begins_anew
                a_tenant_that_is_not_being_erased_keeps_what_it_has
                random_erasures_keep_the_books_and_equal_the_memory_store
            }
            outbox {
                events_come_newest_first_with_every_field
                an_event_has_the_same_id_wherever_it_is_written
                endpoints_survive_with_every_field
                a_changed_endpoint_has_what_was_named
                no_more_endpoints_than_allowed
                each_endpoint_gets_what_it_wants_and_nothing_older
                a_delivery_is_claimed_once_until_its_claim_ends
                a_failed_attempt_is_tried_again_and_a_delivered_one_is_not
                an_attempt_that_is_not_the_last_changes_nothing
                no_endpoint_takes_more_than_its_share
                an_endpoint_that_is_gone_is_disabled
                a_disabled_endpoint_has_nothing_pending
                a_removed_endpoint_leaves_nothing
                a_resent_event_begins_anew
                events_are_found_by_tenant_and_state_in_pages
                an_event_that_was_told_before_is_not_told_again
                what_is_done_is_pruned_and_what_is_pending_is_not
                delivery_survives_a_crash
            }
            agreement {
                random_commands_keep_the_books_and_equal_the_memory_store
                after_a_repaired_clock_the_books_explain_every_number
                repairs_that_are_folded_still_explain_every_number
            }
        }
    };
    (@cases $harness:ty; $($theme:ident { $($case:ident)* })*) => {
        $(mod $theme {
            use super::*;
            $(
                #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $crate::conformance::$theme::$case::<$harness>().await;
                }
            )*
        })*
    };
}
