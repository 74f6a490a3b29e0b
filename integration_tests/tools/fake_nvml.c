/* A fake libnvidia-ml.so.1 for tests without a GPU.
   FAKE_NVML="uuid,name,memMiB,usedMiB,util;uuid,..." is read at each nvmlInit; without it there is no driver.
   A device whose uuid starts with "GPU-lost" fails as one that fell off the bus;
   one whose uuid starts with "GPU-rows" has memory rows that failed to be remapped. */
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
typedef int R; typedef struct dev { int idx; char uuid[80], name[96]; unsigned long long total, used; unsigned util; } *D;
static struct dev d[64]; static int n, up;
#define OK 0
#define UNINIT 1
#define INVAL 2
#define NOTSUP 3
#define NOTFOUND 6
#define SMALL 7
#define NODRV 9
#define GPULOST 15
#define LOST(h) (!strncmp((h)->uuid,"GPU-lost",8))
#define CK if(!up) return UNINIT
static R put(char*o,unsigned l,const char*s){ if(strlen(s)+1>l) return SMALL; strcpy(o,s); return OK; }
R nvmlInitWithFlags(unsigned f){ const char*e=getenv("FAKE_NVML"); if(!e) return NODRV; n=0; char*b=strdup(e),*sv,*p;
  for(p=strtok_r(b,";",&sv);p&&n<64;p=strtok_r(0,";",&sv)){ struct dev*x=&d[n]; unsigned long long t=0,u=0; unsigned ut=0;
    if(sscanf(p,"%79[^,],%95[^,],%llu,%llu,%u",x->uuid,x->name,&t,&u,&ut)<3) continue; x->idx=n; x->total=t<<20; x->used=u<<20; x->util=ut; n++; }
  free(b); up++; return OK; }
R nvmlInit_v2(void){ return nvmlInitWithFlags(0);} R nvmlInit(void){ return nvmlInitWithFlags(0);}
R nvmlShutdown(void){ CK; up--; return OK; }
const char* nvmlErrorString(R r){ switch(r){case 0:return "Success";case 1:return "Uninitialized";case 2:return "Invalid Argument";case 3:return "Not Supported";case 6:return "Not Found";case 7:return "Insufficient Size";case 9:return "Driver Not Loaded";case 15:return "GPU is lost";} return "Unknown Error"; }
R nvmlSystemGetDriverVersion(char*o,unsigned l){ CK; return put(o,l,"570.00.00-fake"); }
R nvmlSystemGetNVMLVersion(char*o,unsigned l){ CK; return put(o,l,"12.570.00-fake"); }
R nvmlSystemGetCudaDriverVersion_v2(int*v){ CK; *v=12080; return OK; } R nvmlSystemGetCudaDriverVersion(int*v){ CK; *v=12080; return OK; }
R nvmlDeviceGetCount_v2(unsigned*c){ CK; *c=n; return OK; } R nvmlDeviceGetCount(unsigned*c){ return nvmlDeviceGetCount_v2(c);}
R nvmlDeviceGetHandleByIndex_v2(unsigned i,D*h){ CK; if(i>=(unsigned)n) return INVAL; *h=&d[i]; return OK; } R nvmlDeviceGetHandleByIndex(unsigned i,D*h){ return nvmlDeviceGetHandleByIndex_v2(i,h);}
R nvmlDeviceGetHandleByUUID(const char*u,D*h){ CK; for(int i=0;i<n;i++) if(!strcmp(u,d[i].uuid)){*h=&d[i];return OK;} return NOTFOUND; }
R nvmlDeviceGetName(D h,char*o,unsigned l){ CK; return put(o,l,h->name); }
R nvmlDeviceGetUUID(D h,char*o,unsigned l){ CK; return put(o,l,h->uuid); }
R nvmlDeviceGetIndex(D h,unsigned*i){ CK; *i=h->idx; return OK; }
R nvmlDeviceGetMinorNumber(D h,unsigned*i){ CK; *i=h->idx; return OK; }
typedef struct { unsigned long long total, free, used; } Mem; R nvmlDeviceGetMemoryInfo(D h,Mem*m){ CK; if(LOST(h)) return GPULOST; m->total=h->total; m->used=h->used; m->free=h->total-h->used; return OK; }
typedef struct { unsigned v; unsigned long long total, reserved, free, used; } Mem2; R nvmlDeviceGetMemoryInfo_v2(D h,Mem2*m){ CK; m->total=h->total; m->reserved=0; m->used=h->used; m->free=h->total-h->used; return OK; }
typedef struct { unsigned gpu, memory; } Ut; R nvmlDeviceGetUtilizationRates(D h,Ut*u){ CK; u->gpu=h->util; u->memory=h->util; return OK; }
R nvmlDeviceGetCudaComputeCapability(D h,int*a,int*b){ CK; *a=9;*b=0; return OK; }
R nvmlDeviceGetMigMode(D h,unsigned*c,unsigned*p){ CK; return NOTSUP; }
R nvmlDeviceGetTemperature(D h,unsigned s,unsigned*t){ CK; *t=35+h->util/4; return OK; }
R nvmlDeviceGetPowerUsage(D h,unsigned*m){ CK; *m=70000+h->util*6000; return OK; }
typedef struct { char legacy[16]; unsigned domain, bus, device, devId, subId; char id[32]; } Pci;
R nvmlDeviceGetPciInfo_v3(D h,Pci*p){ CK; memset(p,0,sizeof*p); p->bus=h->idx+1; snprintf(p->legacy,16,"0000:%02X:00.0",p->bus); snprintf(p->id,32,"00000000:%02X:00.0",p->bus); p->devId=0x233510DE; return OK; }
R nvmlDeviceGetComputeRunningProcesses_v3(D h,unsigned*c,void*i){ CK; *c=0; return OK; }
R nvmlDeviceGetRemappedRows(D h,unsigned*c,unsigned*u,unsigned*p,unsigned*f){ CK; *c=*u=*p=0; *f=!strncmp(h->uuid,"GPU-rows",8); return OK; }
