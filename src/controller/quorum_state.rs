//! [P] The text of `quorum-state`: under which epoch this node last voted or led (Kafka: `FileQuorumStateStore`).
//!
//! JSON. Version 0 (voters by configuration) also lists the voters; version 1 (voters in the log) names the folder that was
//! voted for instead. Other members are read over.

use crate::error::{Damage, Error, Result};
use crate::types::{BrokerId, LeaderEpoch, TopicId};

/// How deep values that are read over may be nested.
const DEPTH_MAX: usize = 16;

/// What `quorum-state` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QuorumState {
    /// The leader, where known.
    pub(crate) leader: Option<BrokerId>,
    /// The leader's epoch.
    pub(crate) leader_epoch: LeaderEpoch,
    /// Where the voters are listed.
    pub(crate) voters: VoterSource,
}

/// Where the quorum's voters are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VoterSource {
    /// In the configuration, and so in this file (version 0).
    Configured(Vec<BrokerId>),
    /// In the log (version 1).
    Log,
}

impl QuorumState {
    /// The text of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let leader = self.leader.map_or(-1, BrokerId::get);
        let epoch = self.leader_epoch;
        match &self.voters {
            VoterSource::Configured(voters) => {
                let voters: Vec<_> = voters.iter().map(|voter| format!("{{\"voterId\":{voter}}}")).collect();
                let voters = voters.join(",");
                format!(
                    "{{\"clusterId\":\"\",\"leaderId\":{leader},\"leaderEpoch\":{epoch},\"votedId\":-1,\
                     \"appliedOffset\":0,\"currentVoters\":[{voters}],\"data_version\":0}}"
                )
            }
            VoterSource::Log => format!(
                "{{\"leaderId\":{leader},\"leaderEpoch\":{epoch},\"votedId\":-1,\"votedDirectoryId\":\"{}\",\
                 \"data_version\":1}}",
                TopicId::ZERO
            ),
        }
        .into_bytes()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the text is no such object, or of an unknown version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<QuorumState> {
        let mut json = Json { bytes, position: 0 };
        let (mut version, mut leader, mut epoch) = (None, -1, None);
        let mut voters = Vec::new();
        json.object(|json, name| {
            match name {
                b"data_version" => version = Some(json.number()?),
                b"leaderId" => leader = json.number()?,
                b"leaderEpoch" => epoch = Some(json.number()?),
                b"currentVoters" => voters = json.voters()?,
                _ => json.skip(0)?,
            }
            Ok(())
        })?;
        json.skip_space();
        if json.position < bytes.len() {
            return Err(json.damaged("the quorum state goes on after its end"));
        }
        let voters = match version {
            Some(0) => VoterSource::Configured(voters),
            Some(1) => VoterSource::Log,
            Some(stored) => return Err(Error::corrupt(0, Damage::Magic { stored })),
            None => return Err(Error::corrupt(0, Damage::Structure("the quorum state has no data_version"))),
        };
        let leader_epoch = epoch
            .and_then(|epoch| i32::try_from(epoch).ok())
            .and_then(LeaderEpoch::new)
            .ok_or_else(|| Error::corrupt(0, Damage::Structure("the quorum state has no legal leaderEpoch")))?;
        Ok(QuorumState { leader: i32::try_from(leader).ok().and_then(BrokerId::new), leader_epoch, voters })
    }
}

/// As much of a JSON reader as the quorum state needs.
struct Json<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Json<'a> {
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let len = rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.position += len;
        rest.get(..len).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.position).copied()
    }

    fn accept(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        if self.accept(wanted) { Ok(()) } else { Err(self.damaged("the quorum state is not a JSON object")) }
    }

    /// A text, its escapes left as they are: no name or id that matters here has any.
    fn text(&mut self) -> Result<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.position;
        loop {
            self.take_while(|byte| !matches!(byte, b'"' | b'\\'));
            match self.bytes.get(self.position) {
                Some(b'"') => break,
                Some(_) => self.position += 2,
                None => return Err(self.damaged("a text of the quorum state does not end")),
            }
        }
        let text = self.bytes.get(start..self.position).unwrap_or_default();
        self.position += 1;
        Ok(text)
    }

    fn number(&mut self) -> Result<i64> {
        self.skip_space();
        let digits = self.take_while(|byte| byte.is_ascii_digit() || byte == b'-');
        let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| self.damaged("a member of the quorum state is not a whole number"))
    }

    fn object(&mut self, mut member: impl FnMut(&mut Json<'a>, &'a [u8]) -> Result<()>) -> Result<()> {
        self.expect(b'{')?;
        if self.accept(b'}') {
            return Ok(());
        }
        loop {
            let name = self.text()?;
            self.expect(b':')?;
            member(self, name)?;
            if !self.accept(b',') {
                return self.expect(b'}');
            }
        }
    }

    fn array(&mut self, mut element: impl FnMut(&mut Json<'a>) -> Result<()>) -> Result<()> {
        self.expect(b'[')?;
        if self.accept(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.accept(b',') {
                return self.expect(b']');
            }
        }
    }

    /// A list of `{"voterId":N}`, or null.
    fn voters(&mut self) -> Result<Vec<BrokerId>> {
        let mut voters = Vec::new();
        if self.peek() == Some(b'n') {
            self.skip(0)?;
            return Ok(voters);
        }
        self.array(|json| {
            json.object(|json, name| {
                if name != b"voterId" {
                    return json.skip(0);
                }
                let id = i32::try_from(json.number()?).ok().and_then(BrokerId::new);
                voters.push(id.ok_or_else(|| json.damaged("a voter's id is illegal"))?);
                Ok(())
            })
        })?;
        Ok(voters)
    }

    /// Reads over any value.
    fn skip(&mut self, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(self.damaged("the quorum state is nested too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object(|json, _| json.skip(depth + 1)),
            Some(b'[') => self.array(|json| json.skip(depth + 1)),
            Some(b'"') => self.text().map(|_| ()),
            _ => {
                let word = self.take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
                if word.is_empty() { Err(self.damaged("a value of the quorum state is missing")) } else { Ok(()) }
            }
        }
    }

    fn damaged(&self, rule: &'static str) -> Error {
        Error::corrupt(self.position as u64, Damage::Structure(rule))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a broker of Kafka 4.0.2 left it.
    const KAFKA: &str = "{\"clusterId\":\"\",\"leaderId\":1,\"leaderEpoch\":2,\"votedId\":-1,\"appliedOffset\":0,\
                         \"currentVoters\":[{\"voterId\":1}],\"data_version\":0}";

    #[test]
    fn the_text_is_kafkas() {
        let one = BrokerId::new(1).unwrap();
        let state = QuorumState {
            leader: Some(one),
            leader_epoch: LeaderEpoch::new(2).unwrap(),
            voters: VoterSource::Configured(vec![one]),
        };
        assert_eq!(String::from_utf8(state.encode()).unwrap(), KAFKA);
        assert_eq!(QuorumState::decode(KAFKA.as_bytes()).unwrap(), state);
    }

    #[test]
    fn voters_that_are_in_the_log_are_not_in_the_file() {
        let state = QuorumState { leader: None, leader_epoch: LeaderEpoch::ZERO, voters: VoterSource::Log };
        assert_eq!(QuorumState::decode(&state.encode()).unwrap(), state);
    }

    #[test]
    fn members_that_are_not_known_are_read_over() {
        let text = br#" { "x" : {"y": [1, "a\"]", null, true]}, "leaderEpoch": 7, "currentVoters": null,
            "votedId": 1.5e+3, "data_version": 0 } "#;
        let state = QuorumState::decode(text).unwrap();
        assert_eq!((state.leader, state.leader_epoch.get()), (None, 7));
        assert_eq!(state.voters, VoterSource::Configured(Vec::new()));
    }

    #[test]
    fn damage_is_typed() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
        for text in
            ["", "{", "{}", "{\"data_version\":0}", "{\"data_version\":2,\"leaderEpoch\":1}", "[]", "{\"a\":}", &deep]
        {
            assert!(matches!(QuorumState::decode(text.as_bytes()), Err(Error::Corrupt(_))), "{text}");
        }
        let negative = b"{\"data_version\":0,\"leaderEpoch\":-1}";
        assert!(QuorumState::decode(negative).is_err());
        assert!(QuorumState::decode(format!("{KAFKA}x").as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[\\[\\]{}\":,a-z0-9 \\\\-]{0,80}") {
            let _ = QuorumState::decode(text.as_bytes());
            let _ = QuorumState::decode(format!("{{\"data_version\":0,\"leaderEpoch\":1,{text}}}").as_bytes());
        }
    }
}
