//! The rules of the core, tested from outside through its public API.
//!
//! A second, naive reading of the rules (`model`) is compared with the core over random
//! scenarios; races that broke other quota systems are told one by one (`races`).

#[cfg(test)]
mod agrees_with_model;
#[cfg(test)]
mod book;
#[cfg(test)]
mod caller;
#[cfg(test)]
mod corners;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod model;
#[cfg(test)]
mod races;
#[cfg(test)]
mod reached;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod tight;
#[cfg(test)]
mod waiting;
#[cfg(test)]
mod world;
