//! Decisions: may this one connect, publish, subscribe?

use std::net::IpAddr;
use std::sync::Arc;

use tessera_rules::attributes::{self as rules, Event};
use tessera_runtime::random;
use tessera_token::ace::AUTHZ_INFO;
use tessera_token::chain::{Admission, Refusal, Subject};
use tessera_token::encoding;
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::topic::{Subscription, TopicName};

use super::sessions::Session;
use super::state::State;
use super::wire::{Answer, Connect, Decided, Item, Publish, Question, Subscribe, Verdict};
use crate::behaviour::{Network, NewConnection, Observation, Refused};
use crate::limits;

/// The credential of a question: a session that is open, or a password of its own.
struct Holder<'q> {
    session: Option<&'q str>,
    client_id: Option<&'q str>,
    password: Option<&'q str>,
    address: Option<IpAddr>,
}

/// An action of a holder, with the right that it needs.
enum Act {
    Publish { topic: TopicName, bytes: u64, qos: u8, retain: bool },
    Subscribe { wanted: Subscription, filter: String, qos: u8 },
}

impl Act {
    fn publish(question: &Publish) -> Result<Self, RefusalCode> {
        let is_sound = question.qos <= 2 && question.bytes <= limits::MESSAGE_BYTES;
        let topic = TopicName::parse(&question.topic).ok().filter(|_| is_sound);
        let topic = topic.ok_or(RefusalCode::RequestMalformed)?;
        let Publish { bytes, qos, retain, .. } = *question;
        Ok(Self::Publish { topic, bytes, qos, retain })
    }

    fn subscribe(question: &Subscribe) -> Result<Self, RefusalCode> {
        let wanted = Subscription::parse(&question.filter).ok().filter(|_| question.qos <= 2);
        let wanted = wanted.ok_or(RefusalCode::RequestMalformed)?;
        Ok(Self::Subscribe { wanted, filter: question.filter.clone(), qos: question.qos })
    }

    /// Whether a scope allows it. Topics that begin with `$` are those of a server, and no scope opens them here.
    fn allowed(&self, scope: &Scope) -> Result<(), RefusalCode> {
        let is_closed = |topic: &str| topic.starts_with('$') || topic == AUTHZ_INFO;
        let (allowed, no) = match self {
            Self::Publish { topic, .. } => (
                !is_closed(topic.as_str()) && scope.may_publish(topic),
                RefusalCode::PublishNotAuthorised,
            ),
            Self::Subscribe { wanted, .. } => (
                !is_closed(wanted.filter.as_str()) && scope.may_subscribe(&wanted.filter),
                RefusalCode::SubscribeNotAuthorised,
            ),
        };
        if allowed {
            Ok(())
        } else {
            Err(no)
        }
    }

    fn topic(&self) -> &str {
        match self {
            Self::Publish { topic, .. } => topic.as_str(),
            Self::Subscribe { filter, .. } => filter,
        }
    }

    fn observation(&self) -> Observation<'_> {
        match self {
            Self::Publish { topic, bytes, .. } => {
                Observation::PublishedMany { topic: topic.as_str(), count: 1, bytes: *bytes }
            }
            Self::Subscribe { filter, .. } => Observation::Subscribed { filter },
        }
    }

    /// As rules ask it.
    fn event(&self) -> Event<'_> {
        match self {
            Self::Publish { topic, bytes, qos, retain } => Event::Publish(rules::Publish {
                topic: topic.as_str(),
                bytes: *bytes,
                qos: *qos,
                retain: *retain,
                ..rules::Publish::default()
            }),
            Self::Subscribe { wanted, qos, .. } => Event::Subscribe(rules::Subscribe {
                filter: wanted.filter.as_str(),
                qos: *qos,
                share: wanted.share.as_deref().unwrap_or_default(),
            }),
        }
    }
}

impl State {
    /// One password, without a session: its connection is told as opened and closed at once.
    pub(super) async fn validate(&self, question: &Question) -> Answer {
        let network = network(question.address);
        match self.admit(&question.client_id, &question.password, network).await {
            Ok(admission) => {
                let session = self.session(&admission, &question.client_id, false, network);
                self.tell_connected(&session, network, 0);
                session.disconnected(&self.observer, true);
                if let Err(code) = self.may_connect(&session, 0) {
                    self.answers.inc(&[code.as_str()]);
                    return self.refused(&Refusal { code, subject: Some(session.subject()) });
                }
                self.answers.inc(&["allow"]);
                Answer::allow(&admission, self.validator.verifier(), self.validator.trust_age())
            }
            Err(refusal) => {
                self.answers.inc(&[refusal.code.as_str()]);
                self.refused(&refusal)
            }
        }
    }

    /// One password, and a session for what follows.
    pub(super) async fn connect(&self, question: &Connect) -> Answer {
        let opened = self.open(question).await;
        let outcome = opened.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "allow");
        self.decisions.inc(&["connect", outcome]);
        opened.unwrap_or_else(|refusal| self.refused(&refusal))
    }

    async fn open(&self, question: &Connect) -> Result<Answer, Refusal> {
        // Before the proof is used up.
        if !self.sessions.has_room() {
            self.sweep();
            if !self.sessions.has_room() {
                return Err(RefusalCode::LimitReached.into());
            }
        }
        let id = random::bytes(self.random.as_ref()).map_err(|_| RefusalCode::NotReady)?;
        let network = network(question.address);
        let admission = self.admit(&question.client_id, &question.password, network).await?;
        let session = self.session(&admission, &question.client_id, question.reports, network);
        self.may_connect(&session, question.keep_alive)
            .map_err(|code| Refusal { code, subject: Some(session.subject()) })?;
        let session = Arc::new(session);
        let opened = self.sessions.open(id, Arc::clone(&session));
        let ended = opened.map_err(|_| RefusalCode::LimitReached)?;
        if !question.reports {
            self.tell_connected(&session, network, question.keep_alive);
        }
        for older in ended {
            older.disconnected(&self.observer, false);
        }
        let (verifier, age) = (self.validator.verifier(), self.validator.trust_age());
        let answer = Answer::allow(&admission, verifier, age);
        Ok(Answer { session: Some(encoding::base64url(&id)), ..answer })
    }

    /// A publish.
    pub(super) async fn publish(&self, question: &Publish) -> Verdict {
        let Publish { session, client_id, password, address, .. } = question;
        let (session, client_id) = (session.as_deref(), client_id.as_deref());
        let holder =
            Holder { session, client_id, password: password.as_deref(), address: *address };
        self.act("publish", holder, Act::publish(question)).await
    }

    /// A subscription.
    pub(super) async fn subscribe(&self, question: &Subscribe) -> Verdict {
        let Subscribe { session, client_id, password, address, .. } = question;
        let (session, client_id) = (session.as_deref(), client_id.as_deref());
        let holder =
            Holder { session, client_id, password: password.as_deref(), address: *address };
        self.act("subscribe", holder, Act::subscribe(question)).await
    }

    /// Each question of a batch, in order.
    pub(super) async fn batch(&self, questions: &[Item]) -> Vec<Decided> {
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            answers.push(match question {
                Item::Connect(question) => Decided::Connect(self.connect(question).await),
                Item::Publish(question) => Decided::Other(self.publish(question).await),
                Item::Subscribe(question) => Decided::Other(self.subscribe(question).await),
            });
        }
        answers
    }

    async fn act(
        &self,
        action: &'static str,
        holder: Holder<'_>,
        act: Result<Act, RefusalCode>,
    ) -> Verdict {
        let (outcome, subject) = match act {
            Ok(act) => self.decide(&holder, &act).await,
            Err(code) => (Err(code), None),
        };
        self.decisions.inc(&[action, outcome.err().map_or("allow", RefusalCode::as_str)]);
        Verdict::of(outcome, subject.as_ref(), self.validator.trust_age())
    }

    async fn decide(&self, holder: &Holder<'_>, act: &Act) -> Decision {
        match (holder.session, holder.client_id, holder.password) {
            (Some(id), None, None) => self.decide_in(id, act),
            (None, Some(client), Some(password)) => {
                self.decide_alone(client, password, holder.address, act).await
            }
            _ => (Err(RefusalCode::RequestMalformed), None),
        }
    }

    /// By a session that is open.
    fn decide_in(&self, id: &str, act: &Act) -> Decision {
        let Some(session) = self.sessions.get(id) else {
            return (Err(RefusalCode::NotFound), None);
        };
        let subject = Some(session.subject());
        if let Err(code) = self.validator.still_holds(session.grant()) {
            return (Err(code), subject);
        }
        let outcome = act.allowed(session.grant().scope());
        let outcome =
            outcome.and_then(|()| self.validator.restricted(&session.asked(), act.event()));
        match outcome {
            // The device does what its token allows.
            Err(code) if code.is_of_a_restriction() => {}
            Err(code) => {
                let topic = act.topic();
                self.observer.observe(session.device(), Observation::Refused { code, topic });
            }
            Ok(()) if session.reports() => {}
            Ok(()) => self.observer.observe(session.device(), act.observation()),
        }
        (outcome, subject)
    }

    /// By a password of its own, which it uses up.
    async fn decide_alone(
        &self,
        client: &str,
        password: &str,
        address: Option<IpAddr>,
        act: &Act,
    ) -> Decision {
        let network = network(address);
        let admission = match self.admit(client, password, network).await {
            Ok(admission) => admission,
            Err(Refusal { code, subject }) => return (Err(code), subject),
        };
        let session = self.session(&admission, client, false, network);
        self.tell_connected(&session, network, 0);
        let allowed = act.allowed(admission.grant.scope());
        let outcome = allowed
            .and_then(|()| self.may_connect(&session, 0))
            .and_then(|()| self.validator.restricted(&session.asked(), act.event()));
        let (code, topic) = (allowed.err(), act.topic());
        let seen =
            code.map_or_else(|| act.observation(), |code| Observation::Refused { code, topic });
        self.observer.observe(session.device(), seen);
        session.disconnected(&self.observer, true);
        (outcome, Some(session.subject()))
    }

    /// Judges a password, and tells the tracker of a refusal.
    async fn admit(
        &self,
        client: &str,
        password: &str,
        network: Network,
    ) -> Result<Admission, Refusal> {
        let judged = match encoding::from_base64url(password) {
            Some(password) => self.validator.admit(&password, client).await,
            None => Err(RefusalCode::CredentialMalformed.into()),
        };
        match &judged {
            Err(Refusal { code, subject: Some(subject) }) => {
                self.observer.observe_refusal(subject, *code, network);
            }
            Err(Refusal { code, subject: None }) if code.is_of_a_guess() => {
                self.stranger(*code, client, password, network);
            }
            _ => {}
        }
        judged
    }

    /// Tells the tracker of a peer that showed no signed token.
    fn stranger(&self, code: RefusalCode, name: &str, password: &str, network: Network) {
        let raw = encoding::from_base64url(password);
        let raw = raw.as_deref().unwrap_or(password.as_bytes());
        let credential = self.observer.mark_of_password(raw);
        let tenant = self.validator.sole_tenant();
        let tenant = tenant.as_ref();
        self.observer.observe_stranger(&Refused { tenant, code, network, name, credential });
    }

    fn refused(&self, refusal: &Refusal) -> Answer {
        Answer::refuse(refusal, self.validator.verifier(), self.validator.trust_age())
    }

    /// Asks rules and restraints about a connection whose credential is good.
    fn may_connect(&self, session: &Session, keep_alive: u16) -> Result<(), RefusalCode> {
        let connect = rules::Connect { keep_alive, ..rules::Connect::default() };
        self.validator.restricted(&session.asked(), Event::Connect(connect))
    }

    fn session(
        &self,
        admission: &Admission,
        client: &str,
        reports: bool,
        network: Network,
    ) -> Session {
        let network = match network {
            Network::Address(address) => address.to_canonical().to_string(),
            Network::Local => String::new(),
        };
        let proved = (self.validator.now(), network);
        Session::new(admission.grant.clone(), client, reports, proved, &self.observer)
    }

    fn tell_connected(&self, session: &Session, network: Network, keep_alive: u16) {
        let new = NewConnection::of(session.grant(), network);
        let new = NewConnection { client: session.client(), keep_alive, ..new };
        session.connected(&self.observer, &new);
    }
}

/// The outcome, and the device when it is known.
type Decision = (Result<(), RefusalCode>, Option<Subject>);

pub(super) fn network(address: Option<IpAddr>) -> Network {
    address.map_or(Network::Local, Network::Address)
}
