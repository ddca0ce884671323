"""A PJSIP telephone that does what it is told on stdin, one JSON a line, and says on stdout what happened, one JSON a line.

It plays 440 Hz, records what it hears, insists on provisional answers that are acknowledged (100rel) and on session
timers. Started with {"address", "port", "folder"}; orders: {"do": "call", "uri"}, "hold", "resume" (by UPDATE),
"reinvite", "refer" with "to", "hangup", "quit".
"""

import json
import queue
import sys
import threading

import pjsua2 as pj

CONFIG = json.loads(sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


class Call(pj.Call):
    """One call, with a tone for the other side and a recording of it."""

    def __init__(self, account, telephone, call_id=pj.PJSUA_INVALID_ID):
        super().__init__(account, call_id)
        self.telephone = telephone

    def onCallState(self, prm):
        info = self.getInfo()
        say(state=info.stateText, code=info.lastStatusCode, reason=info.lastReason)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.telephone.call = None

    def onCallMediaState(self, prm):
        # What is in a CallInfo does not outlive it.
        info = self.getInfo()
        for index, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                audio = self.getAudioMedia(index)
                self.telephone.tone.startTransmit(audio)
                audio.startTransmit(self.telephone.recorder)
                say(media="active")
            elif media.type == pj.PJMEDIA_TYPE_AUDIO:
                say(media="held")

    def onCallTransferRequest(self, prm):
        say(transfer=prm.dstUri)
        prm.statusCode = pj.PJSIP_SC_BUSY_HERE

    def onCallTransferStatus(self, prm):
        say(transferred=prm.statusCode, last=prm.finalNotify)

    def onCallTsxState(self, prm):
        change = prm.e.body.tsxState
        if change.type == pj.PJSIP_EVENT_RX_MSG:
            first = change.src.rdata.wholeMsg.split("\r\n", 1)[0]
            say(heard=first, to=change.tsx.method)


class Account(pj.Account):
    def __init__(self, telephone):
        super().__init__()
        self.telephone = telephone

    def onIncomingCall(self, prm):
        call = Call(self, self.telephone, prm.callId)
        self.telephone.call = call
        for code in (pj.PJSIP_SC_RINGING, pj.PJSIP_SC_OK):
            answer = pj.CallOpParam(True)
            answer.statusCode = code
            call.answer(answer)


class Telephone:
    def __init__(self):
        self.call = None
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        config = pj.EpConfig()
        config.logConfig.level = config.logConfig.consoleLevel = CONFIG.get("log", 0)
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.threadCnt = 0
        self.endpoint.libInit(config)
        transport = pj.TransportConfig()
        transport.port = CONFIG["port"]
        transport.boundAddress = transport.publicAddress = CONFIG["address"]
        self.endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
        self.endpoint.audDevManager().setNullDev()
        self.endpoint.libStart()
        for codec in self.endpoint.codecEnum2():
            self.endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMA") else 0)
        self.tone = pj.ToneGenerator()
        self.tone.createToneGenerator(8000, 1)
        tone = pj.ToneDesc()
        tone.freq1, tone.freq2, tone.on_msec, tone.off_msec = 440, 0, 1000, 0
        tones = pj.ToneDescVector()
        tones.append(tone)
        self.tone.play(tones, True)
        self.recorder = pj.AudioMediaRecorder()
        self.recorder.createRecorder(f"{CONFIG['folder']}/heard.wav")
        account = pj.AccountConfig()
        account.idUri = f"sip:telephone@{CONFIG['address']}:{CONFIG['port']}"
        account.callConfig.prackUse = pj.PJSUA_100REL_MANDATORY
        account.callConfig.timerUse = pj.PJSUA_SIP_TIMER_ALWAYS
        account.callConfig.timerMinSESec = 90
        account.callConfig.timerSessExpiresSec = 300
        account.mediaConfig.transportConfig.boundAddress = CONFIG["address"]
        self.account = Account(self)
        self.account.create(account)

    def obey(self, order):
        what = order["do"]
        param = pj.CallOpParam(True)
        if what == "call":
            self.call = Call(self.account, self)
            self.call.makeCall(order["uri"], param)
        elif what == "hold":
            self.call.setHold(param)
        elif what == "reinvite":
            param.opt.flag = pj.PJSUA_CALL_UNHOLD
            self.call.reinvite(param)
        elif what == "resume":
            param.opt.flag = pj.PJSUA_CALL_UNHOLD
            self.call.update(param)
        elif what == "refer":
            self.call.xfer(order["to"], pj.CallOpParam())
        elif what == "hangup" and self.call:
            self.call.hangup(pj.CallOpParam())


def main():
    telephone = Telephone()
    orders = queue.Queue()

    def read():
        for line in sys.stdin:
            orders.put(json.loads(line))
        orders.put({"do": "quit"})

    threading.Thread(target=read, daemon=True).start()
    say(ready=True)
    while True:
        telephone.endpoint.libHandleEvents(10)
        while not orders.empty():
            order = orders.get()
            if order["do"] == "quit":
                telephone.recorder = telephone.tone = telephone.call = telephone.account = None
                telephone.endpoint.libDestroy()
                return
            try:
                telephone.obey(order)
            except pj.Error as error:
                say(error=error.info())


main()
