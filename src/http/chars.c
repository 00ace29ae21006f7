#include "http/chars.h"

enum {
	ctl = 0,
	spc = CHAR_VALUE | CHAR_QUOTED,                                        /* and obs-text */
	nam = CHAR_TOKEN | CHAR_TARGET | CHAR_VALUE | CHAR_QUOTED | CHAR_HOST, /* letters, digits, … */
	tok = CHAR_TOKEN | CHAR_TARGET | CHAR_VALUE | CHAR_QUOTED,
	hsh = CHAR_TOKEN | CHAR_VALUE | CHAR_QUOTED,
	sub = CHAR_TARGET | CHAR_VALUE | CHAR_QUOTED | CHAR_HOST,
	del = CHAR_TARGET | CHAR_VALUE | CHAR_QUOTED,
	quo = CHAR_TARGET | CHAR_VALUE,
	bsl = CHAR_VALUE,
};

/* clang-format off */
const uint8_t http_chars[256] = {
	/*       0    1    2    3    4    5    6    7    8    9    a    b    c    d    e    f */
	/* 0 */ ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, spc, ctl, ctl, ctl, ctl, ctl, ctl,
	/* 1 */ ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl, ctl,
	/*           !    "    #    $    %    &    '    (    )    *    +    ,    -    .    / */
	/* 2 */ spc, nam, quo, hsh, nam, tok, nam, nam, sub, sub, nam, nam, del, nam, nam, del,
	/*       0    1    2    3    4    5    6    7    8    9    :    ;    <    =    >    ? */
	/* 3 */ nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, del, sub, del, sub, del, del,
	/*       @    A    B    C    D    E    F    G    H    I    J    K    L    M    N    O */
	/* 4 */ del, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam,
	/*       P    Q    R    S    T    U    V    W    X    Y    Z    [    \    ]    ^    _ */
	/* 5 */ nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, del, bsl, del, tok, nam,
	/*       `    a    b    c    d    e    f    g    h    i    j    k    l    m    n    o */
	/* 6 */ tok, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam,
	/*       p    q    r    s    t    u    v    w    x    y    z    {    |    }    ~  DEL */
	/* 7 */ nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, nam, del, tok, del, nam, ctl,
	/* 8 */ spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc,
	/* 9 */ spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc,
	/* a */ spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc,
	/* b */ spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc,
	/* c */ spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc,
	/* d */ spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc,
	/* e */ spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc,
	/* f */ spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc, spc,
};
/* clang-format on */
