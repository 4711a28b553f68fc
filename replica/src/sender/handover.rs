//! The handing over of a primary's role to the standby of one stream, as a state machine without I/O.
//!
//! Three parties move it: the node that gives the role up, the stream to the standby, and what the standby
//! answers. The order of the steps is what keeps two nodes from writing: nothing is sent before the node has
//! made it durable that it will not write by itself ([`Event::Allow`]), and the standby promotes itself only
//! on the stream's word that its answer came before this node gave up: that goes out in `Accepted` alone.
//!
//! | step        | event                                      | next        | then this node               |
//! |-------------|--------------------------------------------|-------------|------------------------------|
//! | `Asked`     | `Reach`: the standby has the log's end     | `Reached`   | gives up writing, durably    |
//! | `Reached`   | `Allow`: that is done                      | `Allowed`   |                              |
//! | `Allowed`   | `Send`: the stream takes the message       | `Sent`      |                              |
//! | `Sent`      | `Accept`: the standby may                  | `Accepted`  | is the standby's standby     |
//! | `Sent`      | `Refuse`                                   | `Refused`   | is the primary that it was   |
//! | before that | `Withdraw`: the time is over, a stop       | `Withdrawn` | is the primary that it was   |
//! | before that | `Leave`: the stream ended                  | `Left`      | is the primary that it was   |
//! | `Sent`      | `Withdraw`, `Leave`                        | `Lost`      | does not write: undecided    |
//! | all others  | any                                        | the same    |                              |

use crate::sync::Progress;
use tokio::sync::watch;

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The standby is to reach the log's end, which may not be known yet.
    Asked,
    /// It has flushed and replayed all.
    Reached,
    /// This node writes no more by itself, whatever happens: the message may go out.
    Allowed,
    /// It was given to the connection: the standby may have it, or get it later.
    Sent,
    /// The standby promotes itself, as soon as it hears that it may.
    Accepted,
    /// The standby stays what it is, and says why.
    Refused(String),
    /// It was taken back before anything was sent.
    Withdrawn,
    /// The stream ended before anything was sent.
    Left,
    /// No answer came.
    Lost,
}

/// What happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The standby has flushed and replayed the whole log.
    Reach,
    /// The node has made it durable that it does not write by itself.
    Allow,
    /// The stream hands the message to the connection.
    Send,
    /// The standby says that it promotes itself.
    Accept,
    /// The standby says why it does not.
    Refuse(String),
    /// The node waits no longer.
    Withdraw,
    /// The stream has ended.
    Leave,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The standby takes over.
    Done,
    /// It never will, for this reason.
    BackedOut(String),
    /// Nobody here knows.
    Undecided,
}

impl Step {
    /// The step after an event; None if that changes nothing.
    fn after(&self, event: &Event) -> Option<Self> {
        match (self, event) {
            (Self::Asked, Event::Reach) => Some(Self::Reached),
            (Self::Reached, Event::Allow) => Some(Self::Allowed),
            (Self::Allowed, Event::Send) => Some(Self::Sent),
            (Self::Sent, Event::Accept) => Some(Self::Accepted),
            (Self::Sent, Event::Refuse(why)) => Some(Self::Refused(why.clone())),
            (Self::Asked | Self::Reached | Self::Allowed, Event::Withdraw) => Some(Self::Withdrawn),
            (Self::Asked | Self::Reached | Self::Allowed, Event::Leave) => Some(Self::Left),
            (Self::Sent, Event::Withdraw | Event::Leave)
                if host::planted!("an offer that went out is taken back") =>
            {
                Some(Self::Withdrawn)
            }
            (Self::Sent, Event::Withdraw | Event::Leave) => Some(Self::Lost),
            _ => None,
        }
    }

    /// What came of it; None while that is open.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Asked | Self::Reached | Self::Allowed | Self::Sent => None,
            Self::Accepted => Some(Outcome::Done),
            Self::Refused(why) => Some(Outcome::BackedOut(format!("the standby refuses: {why}"))),
            Self::Withdrawn => {
                Some(Outcome::BackedOut("the standby did not have the end of the log in time".to_owned()))
            }
            Self::Left => Some(Outcome::BackedOut(
                "the standby has left: it was stopped, cannot be reached, or was promoted by somebody else"
                    .to_owned(),
            )),
            Self::Lost => Some(Outcome::Undecided),
        }
    }
}

/// What is watched.
#[derive(Clone, Debug)]
pub struct Standing {
    /// How far it is.
    pub step: Step,
    /// How far the standby said it is since it was asked.
    pub progress: Progress,
}

/// A handover, shared by those who move it.
#[derive(Debug)]
pub struct Handover {
    stream: u64,
    standing: watch::Sender<Standing>,
}

impl Handover {
    /// To the standby of the stream with this key ([`super::streams::SenderRow::stream`]).
    pub fn new(stream: u64) -> Self {
        let standing = Standing { step: Step::Asked, progress: Progress::default() };
        Self { stream, standing: watch::Sender::new(standing) }
    }

    /// Whose stream it is.
    pub fn stream(&self) -> u64 {
        self.stream
    }

    /// Tells of its changes.
    pub fn subscribe(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// What came of it; None while that is open.
    pub fn outcome(&self) -> Option<Outcome> {
        self.standing.borrow().step.outcome()
    }

    /// The standby said how far it is.
    pub fn progressed(&self, progress: Progress) {
        self.standing.send_modify(|standing| standing.progress = progress);
    }

    /// Whether the event changed something: of several parties one alone is first.
    pub fn on(&self, event: &Event) -> bool {
        self.standing.send_if_modified(|standing| match standing.step.after(event) {
            Some(next) => {
                standing.step = next;
                true
            }
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> [Event; 7] {
        let refuse = Event::Refuse("no".to_owned());
        [Event::Reach, Event::Allow, Event::Send, Event::Accept, refuse, Event::Withdraw, Event::Leave]
    }

    /// All that can come of it, by every order of events.
    fn walk(step: &Step, allowed: bool, sent: bool, seen: &mut Vec<Step>) {
        if seen.contains(step) {
            return;
        }
        seen.push(step.clone());
        match step.outcome() {
            // The standby promotes itself only on a message, and that goes out only once this node does not
            // write.
            Some(Outcome::Done | Outcome::Undecided) => assert!(allowed && sent, "{step:?}"),
            Some(Outcome::BackedOut(_)) => {
                assert!(!sent || matches!(step, Step::Refused(_)), "{step:?} may still be answered");
            }
            None => {}
        }
        for event in events() {
            if let Some(next) = step.after(&event) {
                assert!(step.outcome().is_none(), "{step:?} is taken back by {event:?}");
                walk(&next, allowed || event == Event::Allow, sent || event == Event::Send, seen);
            }
        }
    }

    #[test]
    fn what_was_sent_is_taken_back_by_nothing_but_the_standbys_refusal() {
        let mut seen = Vec::new();
        walk(&Step::Asked, false, false, &mut seen);
        assert_eq!(seen.len(), 9, "{seen:?}");
    }

    #[test]
    fn of_a_withdrawal_and_a_message_one_alone_is_first() {
        let handover = Handover::new(1);
        assert!(handover.on(&Event::Reach) && handover.on(&Event::Allow));
        assert!(handover.on(&Event::Withdraw) && !handover.on(&Event::Send));
        assert!(matches!(handover.outcome(), Some(Outcome::BackedOut(_))));
        let handover = Handover::new(1);
        assert!(handover.on(&Event::Reach) && handover.on(&Event::Allow) && handover.on(&Event::Send));
        assert!(handover.on(&Event::Withdraw) && !handover.on(&Event::Accept), "too late to be believed");
        assert_eq!(handover.outcome(), Some(Outcome::Undecided));
    }
}
