import torch
from torch import Tensor, nn

from unmingle.layers.stft import STFT

def bands(n_bins, plan):
    edges=[0]
    for count,width in plan:
        for _ in range(count): edges.append(edges[-1]+width)
    edges[-1]=n_bins
    return edges

class Block(nn.Module):
    def __init__(self, D, H, K, freq, attn):
        super().__init__()
        self.freq=freq
        self.tn=nn.LayerNorm(D); self.t=nn.LSTM(D,H,batch_first=True,bidirectional=True); self.tp=nn.Linear(2*H,D)
        self.fn=nn.LayerNorm(D)
        if freq=="lstm":
            self.f=nn.LSTM(D,H,batch_first=True,bidirectional=True); self.fp=nn.Linear(2*H,D)
        else:
            E=D//2
            self.f1=nn.Linear(D,2*E); self.mix=nn.Parameter(torch.randn(E//4,K,K)/K**0.5); self.fp=nn.Linear(E,D)
            self.act=nn.SiLU(); self.E=E
        self.attn=attn
        if attn:
            self.heads=4; e=4; self.an=nn.LayerNorm(D); self.e=e
            self.q=nn.Linear(D,self.heads*e); self.k=nn.Linear(D,self.heads*e); self.v=nn.Linear(D,D); self.ap=nn.Linear(D,D)
    def forward(self,x): # B K N D
        B,K,N,D=x.shape
        y,_=self.t(self.tn(x).reshape(B*K,N,D))
        x=x+self.tp(y).reshape(B,K,N,D)
        if self.freq=="lstm":
            y,_=self.f(self.fn(x).transpose(1,2).reshape(B*N,K,D))
            x=x+self.fp(y).reshape(B,N,K,D).transpose(1,2)
        else:
            a,b=self.f1(self.fn(x)).chunk(2,-1)
            a=self.act(a).reshape(B,K,N,self.E//4,4)
            a=torch.einsum('bknec,ekj->bjnec',a,self.mix).reshape(B,K,N,self.E)
            x=x+self.fp(a*self.act(b))
        if self.attn:
            z=self.an(x); h=self.heads
            def sp(t): # B K N (h e) -> B h N (K e)
                return t.reshape(B,K,N,h,-1).permute(0,3,2,1,4).reshape(B,h,N,-1)
            o=nn.functional.scaled_dot_product_attention(sp(self.q(z)),sp(self.k(z)),sp(self.v(z)))
            o=o.reshape(B,h,N,K,-1).permute(0,3,2,1,4).reshape(B,K,N,D)
            x=x+self.ap(o)
        return x

class BandSplit(nn.Module):
    def __init__(self,*,n_src=2,n_fft=512,hop=128,D=64,H=64,n_blocks=4,freq="lstm",attn=False,plan=None):
        super().__init__()
        self.stft=STFT(n_fft=n_fft,hop=hop)
        F=n_fft//2+1
        plan=plan or ((16,2),(8,4),(8,8),(8,16))
        edges=bands(F,plan); self.K=K=len(edges)-1; self.n_src=n_src
        W=max(b-a for a,b in zip(edges,edges[1:]))
        idx=torch.zeros(K,W,dtype=torch.long); ok=torch.zeros(K,W)
        inv=torch.zeros(F,dtype=torch.long)
        for k,(a,b) in enumerate(zip(edges,edges[1:])):
            idx[k,:b-a]=torch.arange(a,b); ok[k,:b-a]=1; inv[a:b]=k*W+torch.arange(b-a)
        self.register_buffer('idx',idx.flatten(),persistent=False); self.register_buffer('ok',ok,persistent=False); self.register_buffer('inv',inv,persistent=False)
        self.W=W
        fan=(ok.sum(1)*3)[:,None,None]
        self.split=nn.Parameter(torch.randn(K,3*W,D)/fan**0.5); self.sb=nn.Parameter(torch.zeros(K,1,D))
        self.blocks=nn.ModuleList(Block(D,H,K,freq,attn) for _ in range(n_blocks))
        self.norm=nn.LayerNorm(D)
        self.h=nn.Linear(D,2*D); self.act=nn.SiLU()
        self.merge=nn.Parameter(torch.randn(K,2*D,n_src*2*W)/(2*D)**0.5*0.5); self.mb=nn.Parameter(torch.zeros(K,1,n_src*2*W))
        with torch.no_grad():
            self.mb.view(K,n_src,2,W)[:,:,0]=1.0/n_src
    def forward(self,mixture):
        T=mixture.shape[-1]; x=mixture[:,0]
        with torch.autocast(x.device.type,enabled=False):
            S=self.stft(x) # B 2 F N
        mag=(S.square().sum(1,keepdim=True)+1e-8).sqrt()
        c=torch.cat([S*mag**-0.5, mag**0.5],1) # B 3 F N
        B,_,F,N=c.shape
        c=c[:,:,self.idx].reshape(B,3,self.K,self.W,N).permute(2,0,4,1,3)*self.ok[:,None,None,None,:]  # K B N 3 W
        y=torch.baddbmm(self.sb,c.reshape(self.K,B*N,3*self.W),self.split).reshape(self.K,B,N,-1).transpose(0,1) # B K N D
        for b in self.blocks: y=b(y)
        y=self.act(self.h(self.norm(y)))
        m=torch.baddbmm(self.mb,y.transpose(0,1).reshape(self.K,B*N,-1),self.merge).float()
        m=m.reshape(self.K,B,N,self.n_src,2,self.W).permute(1,3,4,0,5,2).reshape(B,self.n_src,2,self.K*self.W,N)[:,:,:,self.inv]
        re,im=m[:,:,0],m[:,:,1]; sr,si=S[:,None,0],S[:,None,1]
        o=torch.stack([sr*re-si*im,sr*im+si*re],2)
        with torch.autocast(x.device.type,enabled=False):
            w=self.stft.inverse(o.flatten(0,1),T)
        return w.reshape(B,self.n_src,T)
