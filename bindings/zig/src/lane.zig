//! Lanes: handing over work and fetching the results later.

const c = @import("c.zig");
const status = @import("status.zig");
const types = @import("types.zig");

const Done = types.Done;
const Error = status.Error;
const LaneId = types.LaneId;
const Op = types.Op;
const Ticket = types.Ticket;
const check = status.check;

/// One producer's private pair of queues. May be copied; open until `close`.
///
/// It belongs to one thread at a time: a second one that uses it meanwhile gets error.Busy. In tick mode the work is
/// done in `reap`, `wait` and `Engine.tick`; with workers it is done by them.
pub const Lane = struct {
    engine: *c.kvc_engine_t,
    id: LaneId,

    /// Closes a lane whose operations are all completed and fetched, else answers error.Busy. (kvc_lane_close)
    pub fn close(self: Lane) Error!void {
        return check(c.kvc_lane_close(self.engine, self.id.raw()));
    }

    /// The event fd that is readable when there is something to reap. Read its 8 bytes before reaping. It belongs to
    /// the library and is valid until the lane is closed: do not close it. (kvc_lane_event_fd)
    pub fn eventFd(self: Lane) Error!i32 {
        var fd: i32 = -1;
        try check(c.kvc_lane_event_fd(self.engine, self.id.raw(), &fd));
        return fd;
    }

    /// Submits operations in order, as many as there is room for, and answers how many were taken. If not even the
    /// first one was, the error says why: error.Again when lane_depth operations are under way or not reaped yet.
    ///
    /// The operations are copied, and so is what their info points to. Their keys and data are kept: they must stay
    /// valid and unchanged until the completion. (kvc_submit)
    pub fn submit(self: Lane, ops: []const Op) Error!usize {
        var taken: u64 = 0;
        try check(c.kvc_submit(self.engine, self.id.raw(), @ptrCast(ops.ptr), ops.len, null, &taken));
        return @intCast(taken);
    }

    /// As `submit`, and writes a ticket for each operation taken. `tickets_out` has room for one an operation, else
    /// error.TooSmall. (kvc_submit)
    pub fn submitTickets(self: Lane, ops: []const Op, tickets_out: []Ticket) Error![]Ticket {
        if (tickets_out.len < ops.len) return error.TooSmall;
        var taken: u64 = 0;
        const tickets: [*c]c.kvc_ticket_t = @ptrCast(tickets_out.ptr);
        try check(c.kvc_submit(self.engine, self.id.raw(), @ptrCast(ops.ptr), ops.len, tickets, &taken));
        return tickets_out[0..taken];
    }

    /// Fetches completions, the oldest first, as many as there are and `done_out` has room for: the part of it that was
    /// written. Does not wait. (kvc_reap)
    pub fn reap(self: Lane, done_out: []Done) Error![]Done {
        var count: u64 = 0;
        try check(c.kvc_reap(self.engine, self.id.raw(), @ptrCast(done_out.ptr), done_out.len, &count));
        return done_out[0..count];
    }

    /// Waits for one operation and fetches its completion, which is then not reaped any more. 0 does not wait,
    /// std.math.maxInt(u64) waits for ever. error.Timeout when the time ran out, and the operation goes on; error.Stale
    /// when its completion was fetched before. (kvc_wait)
    pub fn wait(self: Lane, ticket: Ticket, timeout_ns: u64) Error!Done {
        var done: Done = .{};
        try check(c.kvc_wait(self.engine, self.id.raw(), ticket.raw(), timeout_ns, @ptrCast(&done)));
        return done;
    }

    /// Cancels an operation that has not begun, or that waits for a file tier: it completes with `Status.cancelled`.
    /// error.Pending when it is too late, and it completes as usual. (kvc_cancel)
    pub fn cancel(self: Lane, ticket: Ticket) Error!void {
        return check(c.kvc_cancel(self.engine, self.id.raw(), ticket.raw()));
    }
};
