"""Common given names, for cues too weak to trust alone ("it's for maria"), and names that are words as well.

A short list of frequent names of many origins. Names that are also everyday words in a bank's calls
(bill, mark, grant, may, will, chase, hope, rich, sterling) are left out on purpose.
"""

from typing import Final

from serving.spoken.lexicon import word_set

GIVEN_NAMES: Final = word_set(
    """
    aaron abdul abigail adam adrian ahmed aisha alan albert alejandro alex alexander alexandra alexis alice
    alicia alison allison amanda amber amir amy ana anastasia andre andrea andrew angela angelica anita ann
    anna anne annie anthony antonio ariana arthur ashley audrey barbara beatrice ben benjamin beth betty
    beverly bob bradley brandon brenda brian bruce bryan caleb cameron camila carl carla carlos carmen carol
    caroline carolyn catherine cecilia charles charlotte chen cheryl chloe chris christian christina
    christine christopher cindy claire clara clare colin connor craig crystal cynthia daniel daniela danielle
    darren dave david deborah debra deepak denise dennis derek diana diane diego dmitri dominic donald donna
    dorothy douglas dylan edward eileen elaine eleanor elena eli elizabeth ella ellen emily emma eric erica
    erin ethan eugene eva evelyn fatima felix fernando fiona florence frances francis francisco fred
    frederick gabriel gabriela gary geoffrey george gerald giovanni gloria gordon graham greg gregory hannah
    harold harry hassan heather helen henry hiroshi holly howard hugh ian ibrahim irene isaac isabel isabella
    ivan jack jacob jacqueline jake james jamie jane janet janice jason javier jean jeff jeffrey jennifer
    jeremy jerry jesse jessica jill jim joan joanna joe john johnny jonathan jordan jorge jose joseph joshua
    juan judith judy julia julian julie justin karen karim karl kate katherine kathleen kathryn katie keith
    kelly ken kenneth kevin kim kimberly kumar kyle larry laura lauren leah lee leo leonard leslie liam
    lillian linda lisa logan lois lori louis louise lucas lucy luis luke lydia madison malcolm manuel marcus
    margaret maria mariam marie marilyn mario martha martin mary mateo matthew maureen megan mei melissa
    mia michael michelle miguel mike mila mohamed mohammed monica muhammad nadia nancy naomi natalie natasha
    nathan neil nicholas nicole nigel nina noah noor nora norman oliver olivia omar oscar pamela patricia
    patrick paul paula pedro peter philip phillip phyllis priya rachel rafael raj rajesh ralph ramon ravi
    raymond rebecca ricardo richard robert roberto rodrigo roger ronald rosa roy russell ruth ryan sabrina
    sally sam samantha samuel sandra sanjay sara sarah scott sean sebastian sergio sharon shaun shirley simon
    sofia sophia sophie stacey stanley stephanie stephen steve steven stuart susan svetlana sylvia tamara
    tanya tara teresa terry theresa thomas tiffany timothy tina tom tony tracy trevor tyler valerie vanessa
    veronica victoria vijay vincent virginia vladimir walter wayne wendy william xavier yasmin yolanda yusuf
    yuki zachary zainab zoe
    """
)
"""Frequent given names."""

EVERYDAY_NAMES: Final = word_set(
    """
    april art august baker ball bank banks bell best bill bird black blue bond bright brown bush buck cash
    case chance charge chase chip church clay coin cook cross day dean drew earl early east english faith
    fall field fields fine fish ford fox frank free french gene good grace grant gray green grey guy hall
    hand hill hope house jack joy june king land lane last law light little long lord love low major march
    mark mason max may miles mill mills mine miss money more new nick north page paris park pat penny pitt
    place pool poor pope post pound power price quick rate ray read reed rich rob rock rose self sharp
    short singer small son south speed spring star sterling stock stone story street strong summer sun
    swift trust wall ward way weeks van von der bin mac dos del welcome west white wise winter wood woods
    work young youngs
    """
)
"""Everyday words: part of a name only where they are written or introduced as one."""
