//! A whole engine on the simulated disk.
