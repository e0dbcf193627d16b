//! Messages on their way between processes. Every request is an exchange of its own, as over HTTP: it and its answer may be
//! lost or late, the request may come twice, and nothing comes in order.

use tessera_provisioning::driven::Call;

use super::act::Purpose;
use super::chance::Chance;

/// The part that asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    Gate(usize),
    Device(usize),
    Operator,
}

pub enum Parcel {
    Request(Exchange, Box<Call>, Purpose),
    Answer(Exchange, (u16, Vec<u8>)),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exchange {
    pub id: u64,
    pub from: Asker,
}

/// How bad the network is, in thousandths.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    pub lost: u64,
    pub late: u64,
    pub twice: u64,
}

#[derive(Default)]
pub struct Net {
    under_way: Vec<(u64, u64, Parcel)>,
    number: u64,
    pub weather: Weather,
    pub lost: u64,
}

impl Net {
    pub fn send(
        &mut self,
        chance: &mut Chance,
        now: u64,
        from: Asker,
        call: Call,
        purpose: Purpose,
    ) -> Exchange {
        let exchange = self.exchange(from);
        if chance.hits(self.weather.twice) {
            let again = Parcel::Request(exchange, Box::new(call.clone()), purpose.clone());
            self.put(chance, now, again);
        }
        self.put(chance, now, Parcel::Request(exchange, Box::new(call), purpose));
        exchange
    }

    pub fn answer(&mut self, chance: &mut Chance, now: u64, to: Exchange, answer: (u16, Vec<u8>)) {
        self.put(chance, now, Parcel::Answer(to, answer));
    }

    /// Arrived messages in order.
    pub fn due(&mut self, now: u64) -> Option<Parcel> {
        let due = |(_, at): &(usize, &(u64, u64, Parcel))| at.0 <= now;
        let first = self.under_way.iter().enumerate().filter(due);
        let (at, _) = first.min_by_key(|(_, (due, number, _))| (*due, *number))?;
        Some(self.under_way.swap_remove(at).2)
    }

    /// Cuts what is on its way to and from the office: its process is gone.
    pub fn cut(&mut self) {
        self.under_way.retain(|(_, _, parcel)| matches!(parcel, Parcel::Request(..)));
    }

    /// Cuts everything that is on its way.
    pub fn clear(&mut self) {
        self.under_way.clear();
    }

    /// Requests of operators that have not arrived never will.
    pub fn forget_operators(&mut self) {
        let asked = |parcel: &Parcel| match parcel {
            Parcel::Request(exchange, ..) | Parcel::Answer(exchange, _) => exchange.from,
        };
        self.under_way.retain(|(_, _, parcel)| asked(parcel) != Asker::Operator);
    }

    fn exchange(&mut self, from: Asker) -> Exchange {
        self.number += 1;
        Exchange { id: self.number, from }
    }

    fn put(&mut self, chance: &mut Chance, now: u64, parcel: Parcel) {
        if chance.hits(self.weather.lost) {
            self.lost += 1;
            return;
        }
        let slow = if chance.hits(self.weather.late) { chance.between(500, 90_000) } else { 0 };
        self.number += 1;
        self.under_way.push((now + chance.between(1, 40) + slow, self.number, parcel));
    }
}
