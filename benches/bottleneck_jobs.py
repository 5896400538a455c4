#!/usr/bin/env python3
"""Plants jobs whose bottleneck is known and counts how often `agp profile` names it.

Six kinds (CPU, disk, memory, lock, sleep, network), several shapes of each, quiet and beside a noisy
neighbour that keeps every processor busy. Memory jobs run under a memory limit of a control group of
their own, which takes root; without it they are left out, and that is said.

    python3 benches/bottleneck_jobs.py --agp target/release/agp [--out docs/evidence/bottleneck.md]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

PYTHON = sys.executable

# Shapes: kind, name, Python source. `n` is the number of the repetition, so that no two are alike.
JOBS = [
    ("cpu", "one thread in a loop", "t=time.time()+D\nwhile time.time()<t: sum(range(2000))"),
    ("cpu", "two processes in loops", "ps=[os.fork() for _ in range(1)]\nt=time.time()+D\nwhile time.time()<t: sum(range(2000))\nif ps[0]: os.wait()"),
    ("cpu", "many short children", "t=time.time()+D\nwhile time.time()<t: subprocess.run([sys.executable,'-S','-c','sum(range(300000))'])"),
    ("cpu", "compressing", "import zlib\nb=os.urandom(1<<20)\nt=time.time()+D\nwhile time.time()<t: zlib.compress(b,9)"),
    ("cpu", "work with short naps", "t=time.time()+D\nwhile time.time()<t:\n  u=time.time()+.08\n  while time.time()<u: sum(range(2000))\n  time.sleep(.005)"),
    ("disk", "small synchronous writes", "f=os.open(P,os.O_CREAT|os.O_WRONLY)\nt=time.time()+D\nwhile time.time()<t: os.write(f,b'x'*4096); os.fsync(f)"),
    ("disk", "large synchronous writes", "f=os.open(P,os.O_CREAT|os.O_WRONLY)\nb=b'x'*(4<<20)\nt=time.time()+D\nwhile time.time()<t: os.pwrite(f,b,0); os.fsync(f)"),
    ("disk", "direct reads", "f=os.open(P,os.O_CREAT|os.O_RDWR)\nos.pwrite(f,os.urandom(1<<20)*32,0); os.fsync(f)\ng=os.open(P,os.O_RDONLY|os.O_DIRECT)\nm=mmap.mmap(-1,1<<18)\nt=time.time()+D\nwhile time.time()<t: os.preadv(g,[m],random.randrange(0,120)*(1<<18))"),
    ("disk", "two writers", "import threading\ndef w(i):\n  f=os.open(P+str(i),os.O_CREAT|os.O_WRONLY)\n  t=time.time()+D\n  while time.time()<t: os.write(f,b'x'*65536); os.fdatasync(f)\nts=[threading.Thread(target=w,args=(i,)) for i in range(2)]\n[t.start() for t in ts]; [t.join() for t in ts]"),
    ("disk", "many small files", "t=time.time()+D\ni=0\nwhile time.time()<t:\n  i+=1\n  f=os.open(f'{P}-{i%50}',os.O_CREAT|os.O_WRONLY|os.O_SYNC); os.write(f,b'y'*8192); os.close(f)"),
    ("memory", "a working set beyond the limit", "W(26,44)\nt=time.time()+D+1\nwhile time.time()<t:\n  for i in range(0,44<<20,4096): m[i]"),
    ("memory", "random reads of a set that does not fit", "W(26,40)\nt=time.time()+D+1\nwhile time.time()<t: m[random.randrange(0,40<<20)]"),
    ("lock", "threads and one lock", "import threading\nL=threading.Lock()\nt=time.time()+D\ndef w():\n  while time.time()<t:\n    with L: time.sleep(.01)\nts=[threading.Thread(target=w) for _ in range(4)]\n[x.start() for x in ts]; [x.join() for x in ts]"),
    ("lock", "another process holds the file", "import fcntl\nf=open(P,'w'); r,w=os.pipe()\nif os.fork()==0:\n  fcntl.flock(f,fcntl.LOCK_UN); g=open(P,'w'); fcntl.flock(g,fcntl.LOCK_EX); os.write(w,b'x'); time.sleep(D); os._exit(0)\nos.read(r,1)\ng=open(P,'w'); fcntl.flock(g,fcntl.LOCK_EX)"),
    ("lock", "processes and a record lock", "import fcntl\nfor i in range(4):\n  if os.fork()==0:\n    f=open(P,'a+'); t=time.time()+D\n    while time.time()<t:\n      fcntl.lockf(f,fcntl.LOCK_EX); time.sleep(.02); fcntl.lockf(f,fcntl.LOCK_UN)\n    os._exit(0)\nfor i in range(4): os.wait()"),
    ("lock", "processes and a shared lock", "import multiprocessing as mp\ndef w(l,t):\n  while time.time()<t:\n    with l: time.sleep(.015)\nl=mp.Lock(); t=time.time()+D\nps=[mp.Process(target=w,args=(l,t)) for _ in range(3)]\n[p.start() for p in ps]; [p.join() for p in ps]"),
    ("sleep", "one long sleep", "time.sleep(D)"),
    ("sleep", "many naps", "t=time.time()+D\nwhile time.time()<t: time.sleep(.003)"),
    ("sleep", "a thread sleeps, another joins it", "import threading\nt=threading.Thread(target=lambda: time.sleep(D)); t.start(); t.join()"),
    ("sleep", "a shell that waits", "subprocess.run(['sh','-c',f'for i in 1 2 3 4; do sleep {D/4}; done'])"),
    ("sleep", "an event loop's timer", "import asyncio\nasyncio.run(asyncio.sleep(D))"),
    ("network", "answers that come late", "S(.15)\nc=C()\nt=time.time()+D\nwhile time.time()<t: c.send(b'x'); c.recv(1)"),
    ("network", "one answer that does not come", "S(D)\nc=C(); c.send(b'x'); c.recv(1)"),
    ("network", "poll before reading", "import select\nS(.1)\nc=C()\nt=time.time()+D\nwhile time.time()<t:\n  c.send(b'x'); select.select([c],[],[]); c.recv(1)"),
    ("network", "an event loop of clients", "import asyncio\nS(.1)\nasync def one():\n  r,w=await asyncio.open_connection('127.0.0.1',PORT)\n  t=time.time()+D\n  while time.time()<t: w.write(b'x'); await r.read(1)\nasync def all(): await asyncio.gather(*[one() for _ in range(3)])\nasyncio.run(all())"),
    ("network", "connections one by one", "S(.05)\nt=time.time()+D\nwhile time.time()<t:\n  c=C(); c.send(b'x'); c.recv(1); c.close()"),
]

# Written after all mending was done, mostly of other programs than Python: shells, perl, sort, dd, SQLite.
HELD_OUT = [
    ("cpu", "a loop of a shell", "subprocess.run(['timeout',str(D),'sh','-c','while :; do i=$((i+1)); done'])"),
    ("cpu", "perl and a pipe", "subprocess.run(f'timeout {D} perl -e \"print rand(), chr(10) while 1\" | sort >/dev/null', shell=True)"),
    ("cpu", "digests of zeros", "subprocess.run(f'timeout {D} cat /dev/zero | sha512sum >/dev/null', shell=True)"),
    ("cpu", "threads of a library", "import threading,hashlib\nt=time.time()+D\ndef w():\n  while time.time()<t: hashlib.pbkdf2_hmac('sha256',b'x',b'y',20000)\nts=[threading.Thread(target=w) for _ in range(2)]\n[x.start() for x in ts]; [x.join() for x in ts]"),
    ("disk", "dd, synchronous", "t=time.time()+D\nwhile time.time()<t: subprocess.run(['dd','if=/dev/zero','of='+P,'bs=64k','count=40','oflag=sync','status=none'])"),
    ("disk", "a data base that commits each row", "import sqlite3\nc=sqlite3.connect(P); c.execute('create table t(x)')\nt=time.time()+D\nwhile time.time()<t:\n  c.execute('insert into t values(1)'); c.commit()"),
    ("disk", "pages of a mapped file", "f=os.open(P,os.O_CREAT|os.O_RDWR); os.ftruncate(f,8<<20)\nm=mmap.mmap(f,8<<20)\nt=time.time()+D\nwhile time.time()<t:\n  m[random.randrange(8<<20)]=1; m.flush()"),
    ("disk", "direct reads of four threads", "import threading\nf=os.open(P,os.O_CREAT|os.O_RDWR); os.pwrite(f,os.urandom(1<<20)*64,0); os.fsync(f)\nt=time.time()+D\ndef w():\n  g=os.open(P,os.O_RDONLY|os.O_DIRECT); b=mmap.mmap(-1,1<<20)\n  while time.time()<t: os.preadv(g,[b],random.randrange(0,63)<<20)\nts=[threading.Thread(target=w) for _ in range(4)]\n[x.start() for x in ts]; [x.join() for x in ts]"),
    ("memory", "a program that reads a file too large to keep", "M(26)\nt=time.time()+D+1\nwhile time.time()<t: subprocess.run(['md5sum',P],stdout=subprocess.DEVNULL)"),
    ("memory", "two readers of a mapped file", "W(30,44)\nos.fork()\nt=time.time()+D+1\nwhile time.time()<t:\n  for i in range(0,44<<20,4096): m[i]"),
    ("lock", "flock, the program", "subprocess.Popen(['flock',P,'sleep',str(D)]); time.sleep(.1)\nsubprocess.run(['flock',P,'true'])"),
    ("lock", "a lock that is held while its holder sleeps", "import threading\nL=threading.RLock(); r=threading.Event()\ndef h():\n  with L: r.set(); time.sleep(D)\nthreading.Thread(target=h).start(); r.wait()\nwith L: pass"),
    ("lock", "processes and a semaphore", "import multiprocessing as mp\ns=mp.Semaphore(1); t=time.time()+D\ndef w():\n  while time.time()<t:\n    with s: time.sleep(.01)\nps=[mp.Process(target=w) for _ in range(4)]\n[p.start() for p in ps]; [p.join() for p in ps]"),
    ("sleep", "sleep, the program", "subprocess.run(['sleep',str(D)])"),
    ("sleep", "perl's select", "subprocess.run(['perl','-e',f'select(undef,undef,undef,0.05) for 1..{int(D*20)}'])"),
    ("sleep", "three processes that sleep", "ps=[subprocess.Popen(['sleep',str(D)]) for _ in range(3)]\n[p.wait() for p in ps]"),
    ("sleep", "little work between sleeps", "t=time.time()+D\nwhile time.time()<t: sum(range(20000)); time.sleep(.02)"),
    ("network", "a shell that asks", "S(.1)\nsubprocess.run(['bash','-c',f'exec 3<>/dev/tcp/127.0.0.1/{PORT}; for i in $(seq {int(D*10)}); do printf x >&3; head -c1 <&3 >/dev/null; done'])"),
    ("network", "perl that asks", "S(.2)\nsubprocess.run(['perl','-MIO::Socket::INET','-e',f'$s=IO::Socket::INET->new(\"127.0.0.1:{PORT}\"); for(1..{int(D*5)})'+'{syswrite $s,\"x\"; sysread $s,$b,1}'])"),
    ("network", "ten threads that ask", "import threading\nS(.1)\nt=time.time()+D\ndef w():\n  c=C()\n  while time.time()<t: c.send(b'x'); c.recv(1)\nts=[threading.Thread(target=w) for _ in range(10)]\n[x.start() for x in ts]; [x.join() for x in ts]"),
]

# What jobs find: D seconds, P a path, M(mebibytes) a limit, C() a connection to a server that takes
# its time and is no part of the job.
PRELUDE = """
import os,sys,time,random,mmap,subprocess,socket
D=float(os.environ['D']); P=os.environ['P']; PORT=int(os.environ['PORT'])
def M(n):
  g=os.environ['MEMORY']; open(g+'/memory.limit_in_bytes','w').write(str(n<<20)); open(g+'/cgroup.procs','w').write('0')
def S(delay): pass
def W(limit,size):
  # A file that is read again and again and is larger than what may stay in memory of it.
  global m
  M(limit)
  m=mmap.mmap(os.open(P,os.O_RDONLY),size<<20,mmap.MAP_SHARED,mmap.PROT_READ); m.madvise(mmap.MADV_RANDOM)
def C():
  c=socket.create_connection(('127.0.0.1',PORT)); return c
"""

SERVER = """
import socket,sys,threading,time
s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(64); print(s.getsockname()[1],flush=True)
delay=float(sys.argv[1])
def serve(c):
  while True:
    b=c.recv(1)
    if not b: return
    time.sleep(delay); c.send(b)
while True:
  c,_=s.accept(); threading.Thread(target=serve,args=(c,),daemon=True).start()
"""

NEIGHBOUR = "import os\n[os.fork() for _ in range(1)]\nwhile True: sum(range(10000))"


def memory_group():
    """A control group of version 1 for the limits of memory jobs; None where there can be none."""
    folder = f"/sys/fs/cgroup/memory/agp-bench-{os.getpid()}"
    try:
        os.mkdir(folder)
        return folder if os.path.exists(folder + "/memory.limit_in_bytes") else None
    except OSError:
        return None


def run(agp, place, job, seconds, group):
    kind, name, source = job
    server = None
    environment = dict(os.environ, D=str(seconds), P=os.path.join(place, "data"), PORT="0")
    if kind == "network":
        delay = source.split("S(")[1].split(")")[0]
        delay = seconds if delay == "D" else float(delay)
        server = subprocess.Popen([PYTHON, "-c", SERVER, str(delay)], stdout=subprocess.PIPE, text=True)
        environment["PORT"] = server.stdout.readline().strip()
    if group:
        environment["MEMORY"] = group
        with open(environment["P"], "wb") as data:
            data.write(os.urandom(48 << 20))
            os.fsync(data.fileno())
            # What stays in memory on our account would be no part of the job's limit.
            os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        command = [agp, "profile", "--no-gate", "--runs", "1", "--json", "--", PYTHON, "-c", PRELUDE + source]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120)
        report = json.loads(done.stdout)
        if report["exit_code"] != 0:
            raise RuntimeError(f"{name}: {done.stderr[-600:]}")
        return report["stages"][0]["runs"][0]
    finally:
        if server:
            server.kill()
            server.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--agp", default="target/release/agp")
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--only", default="")
    arguments.add_argument("--held-out", action="store_true", help="the jobs that nothing was mended by")
    arguments.add_argument("--out")
    arguments = arguments.parse_args()
    agp = os.path.abspath(arguments.agp)
    group = memory_group()
    lines, right, all_ = [], 0, 0
    # To sixty.
    memory = [job for job in JOBS if job[0] == "memory"]
    more = memory + [job for job in JOBS if job[0] == "lock"][:1] + memory[:1]
    for crowded in (False, True):
        neighbour = subprocess.Popen([PYTHON, "-c", NEIGHBOUR], start_new_session=True) if crowded else None
        try:
            for job in HELD_OUT if arguments.held_out else JOBS + more:
                kind, name, _ = job
                if arguments.only and kind not in arguments.only.split(","):
                    continue
                if kind == "memory" and not group:
                    print("memory jobs are left out: no control group of version 1", file=sys.stderr)
                    continue
                with tempfile.TemporaryDirectory(dir=os.getcwd()) as place:
                    found = run(agp, place, job, arguments.seconds, group if kind == "memory" else None)
                time_ = found["time"]
                bottleneck, after = time_["bottleneck"], time_["runner_up"]
                good = bottleneck["resource"] == kind
                right, all_ = right + good, all_ + 1
                line = (f"| {'crowded' if crowded else 'quiet'} | {kind} | {name} | "
                        f"{bottleneck['resource']} {bottleneck['share']:.0%} | {after['resource']} {after['share']:.0%} | "
                        f"{time_['parallelism']:.2f} | {'yes' if good else '**no**'} |")
                print(line, flush=True)
                lines.append(line)
        finally:
            if neighbour:
                os.killpg(neighbour.pid, 9)
                neighbour.wait()
    if group:
        os.rmdir(group)
    print(f"{right} of {all_} right")
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as out:
            out.write("# Bottlenecks of planted jobs\n\n"
                      f"`python3 benches/bottleneck_jobs.py{' --held-out' if arguments.held_out else ''}`, {time.strftime('%Y-%m-%d', time.gmtime())}, "
                      f"{os.cpu_count()} processors, Linux {os.uname().release}: **{right} of {all_} named right**.\n"
                      "Crowded: beside two processes that keep every processor busy.\n\n"
                      "| | planted | job | named | runner-up | processors busy | right |\n|---|---|---|---|---|--:|---|\n"
                      + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
