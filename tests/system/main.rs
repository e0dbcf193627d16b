//! The whole system from outside: the started binary, real clients, and the shape of the code.

mod architecture;
