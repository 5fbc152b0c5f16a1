//! Buckets: which part of a distributed store a tenant's rows are in.
//!
//! A bucket is a stable hash of the tenant's id, part of every key of a store that is shared by
//! many nodes, and what one transaction keeps to. Fixed for good: a change of the hash or of
//! [`BUCKETS`] would look for every row in another place.

use earmark_core::TenantId;

/// How many buckets there are: enough for workers of many nodes to batch apart and for a
/// distributed database to spread tables evenly, few enough that batches stay full.
pub const BUCKETS: usize = 64;

/// The bucket of a tenant, below [`BUCKETS`].
pub fn bucket_of(tenant: &TenantId) -> usize {
    // FNV-1a, then the mixing of SplitMix64: short, quick, and the same on every machine.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let mut hash = tenant.as_str().bytes().fold(0xCBF2_9CE4_8422_2325, fold);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^= hash >> 31;
    usize::try_from(hash % BUCKETS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tenant: &str) -> usize {
        bucket_of(&TenantId::new(tenant).unwrap())
    }

    #[test]
    fn a_tenant_stays_in_its_bucket_for_good() {
        let known = [("acme", 47), ("t1", 13), ("user@example.com", 32)];
        assert_eq!(known.map(|(tenant, _)| (tenant, of(tenant))), known);
    }

    #[test]
    fn tenants_that_are_counted_up_spread_evenly() {
        let mut counts = [0; BUCKETS];
        for number in 0..64_000 {
            counts[of(&format!("tenant-{number}"))] += 1;
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }
}
