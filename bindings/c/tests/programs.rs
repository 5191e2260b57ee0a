//! C programs, compiled by gcc and by clang with every warning an error, against a real daemon on loopback; once each, and once
//! under valgrind, which must find nothing. Linked as pkg-config says, with the library as `install.sh` installs it.
//!
//! Where a tool is missing the test prints `skipped` and why; where `CI` is set it fails. `make deps` brings all of them.

mod support;

use std::process::Command;

use support::{Node, PATIENCE, Toolbox, end};

#[test]
fn every_kind_is_written_and_read_back() {
    let Some(tools) = Toolbox::find() else { return };
    for mut program in tools.each_way("tests/programs/kinds.c") {
        let node = Node::start(1, 4096);
        program.arg(node.socket()).arg(node.segment());
        end(tools.spawn(program));
    }
}

#[test]
fn mistakes_are_answered_and_harm_nobody() {
    let Some(tools) = Toolbox::find() else { return };
    for mut program in tools.each_way("tests/programs/mistakes.c") {
        // Room for 64 keys: more are refused.
        let node = Node::start(1, 64);
        program.arg(node.socket());
        end(tools.spawn(program));
    }
}

#[test]
fn threads_share_a_client_and_its_handles() {
    let Some(tools) = Toolbox::find() else { return };
    for mut program in tools.each_way("tests/programs/threads.c") {
        let node = Node::start(1, 4096);
        program.arg(node.socket());
        end(tools.spawn(program));
    }
}

#[test]
fn levels_are_waited_for_and_what_was_reached_is_told() {
    let Some(tools) = Toolbox::find() else { return };
    for mut program in tools.each_way("tests/programs/levels.c") {
        let [mut a, mut b] = Node::pair();
        a.run();
        program.arg(a.socket());
        let mut running = tools.spawn(program);
        assert_eq!(running.line(), "start the peer");
        b.run();
        running.go_on();
        end(running);
    }
}

#[test]
fn a_daemon_that_is_killed_comes_back() {
    let Some(tools) = Toolbox::find() else { return };
    for mut program in tools.each_way("tests/programs/restarts.c") {
        let mut node = Node::start(1, 4096);
        program.arg(node.socket());
        let mut running = tools.spawn(program);
        assert_eq!(running.line(), "kill the daemon");
        node.kill();
        running.go_on();
        assert_eq!(running.line(), "start it again");
        node.run();
        running.go_on();
        end(running);
    }
}

#[test]
fn the_example_flips_a_switch_that_another_sees() {
    let Some(tools) = Toolbox::find() else { return };
    let node = Node::start(1, 4096);
    let example = tools.compile("gcc", "examples/kill_switch.c", false);
    let run = |what: &str| {
        let mut program = Command::new(&example);
        program.arg(node.socket()).args(["kill/checkout", what]);
        tools.spawn(program)
    };
    let mut watcher = run("watch");
    assert_eq!(watcher.line(), "off");
    let mut flip = run("on");
    assert_eq!(flip.line(), "on here and on 0 of 0 peers");
    assert_eq!(watcher.line(), "on");
    for mut program in [watcher, flip] {
        assert!(program.process.wait_exit(PATIENCE).expect("it ends").success());
    }
}

#[test]
fn the_static_library_does_without_the_shared_one() {
    let Some(tools) = Toolbox::find() else { return };
    let node = Node::start(1, 64);
    let program = tools.compile("gcc", "tests/programs/mistakes.c", true);
    let needed = Command::new("ldd").arg(&program).output().expect("ldd runs");
    assert!(!String::from_utf8_lossy(&needed.stdout).contains("liblatticed"), "{needed:?}");
    let mut command = Command::new(&program);
    command.arg(node.socket());
    end(tools.spawn(command));
}

#[test]
fn the_header_is_one_for_cpp_too() {
    let Some(tools) = Toolbox::find() else { return };
    let mut compiler = Command::new("clang");
    compiler.args(["-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]);
    tools.must(compiler.arg(tools.header()));
}
