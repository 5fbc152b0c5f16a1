//! Erasure: begun, carried out by a store, and finished; what is left is a tombstone.

use super::script_tests::table;

#[test]
fn a_tenant_that_is_being_erased_is_not_there_for_anybody() {
    table(
        "m/month = 5; default free",
        "
        hold a m:2 ttl=60s      -> admitted
        charge m:1 key=k        -> charged m:1
        erase                   -> changed
        erase                   -> unchanged        // begun already
        tenant                  -> free erasing
        hold b m:1 create       -> denied tenant_not_found
        charge m:1              -> denied tenant_not_found
        charge m:1 key=k        -> denied tenant_not_found
        check m:1               -> would deny tenant_not_found retry never seq 0
        settle a m:2            -> refused TenantNotFound
        extend a                -> refused TenantNotFound
        usage                   -> refused TenantNotFound
        put free                -> refused TenantNotFound
        activate                -> refused TenantNotFound
        grant g m:1             -> refused TenantNotFound
        after 2m                                    // nothing of it comes due
        sweep                   -> refused TenantNotFound
        m/month                 -> 1+2
        ",
    );
}

#[test]
fn what_is_left_is_a_tombstone_and_one_of_the_same_name_begins_anew_behind_it() {
    table(
        "m/month = 5; default free",
        "
        hold a m:2              -> admitted
        charge m:3              -> charged m:3
        grant g m:9             -> granted limits 1
        finish                  -> refused TenantNotFound   // nobody erases it
        seq                     -> 4
        erase                   -> changed
        take
        finish                  -> changed
        tenant                  -> free erased
        seq                     -> 6
        usage                   -> refused TenantNotFound
        look a                  -> refused TenantNotFound
        finish                  -> refused TenantNotFound
        erase                   -> refused TenantNotFound
        hold b m:6 create       -> denied amount_above_limit    // leaves the tombstone
        tenant                  -> free erased
        seq                     -> 6
        hold b m:5 create       -> admitted
        tenant                  -> free active
        seq                     -> 8
        m/month                 -> 0+5
        settle a m:1            -> refused HoldNotFound
        settle b m:4            -> charged m:4 returned m:1
        ",
    );
}

#[test]
fn one_that_was_erased_can_be_created_by_name() {
    table(
        "plan free; m/month = 5
         plan pro; m/month = 50",
        "
        charge m:5              -> charged m:5
        erase                   -> changed
        take
        finish                  -> changed
        hold a m:1              -> denied tenant_not_found
        put pro                 -> created
        tenant                  -> pro active
        hold a m:50             -> admitted
        ",
    );
}
